"""Each file here but `base` and `pairs` reads and writes one schema: what the columns are called and mean."""
