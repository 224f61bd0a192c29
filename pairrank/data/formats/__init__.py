"""Each file here but `arena`, `base` and `pairs` reads and writes one schema: how its columns are called and read."""
