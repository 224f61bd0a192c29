"""A setting that wins a search has won a lottery too, so it meets the old one on a fold the search never saw."""
