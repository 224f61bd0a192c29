"""The command line: python -m pairrank.experiments."""
