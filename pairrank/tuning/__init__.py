"""The best of many settings looks better than it is, so it is tested on a fold that the search never used."""
