"""`python -m pairrank.experiments` runs the command line, which is in `pairrank.cli`."""
