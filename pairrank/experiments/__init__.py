"""Home of `python -m pairrank.experiments`; the command line itself is `pairrank.cli`."""
