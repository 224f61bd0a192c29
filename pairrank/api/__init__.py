"""The functions for notebooks and programs. Each one is also what the command of the same name calls."""
