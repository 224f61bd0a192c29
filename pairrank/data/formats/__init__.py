"""Each file here but `arena`, `base` and `pairs` reads and writes one schema: what its columns are called."""
