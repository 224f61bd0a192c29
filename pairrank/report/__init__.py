"""Pages that a person reads: what is in the data, how the models did on it, and where they err."""
