"""Each file here reads and writes one schema of battle files: what their columns are called and mean."""
