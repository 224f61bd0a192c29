"""Battles, predictions and folds, the files that hold them, and simulated battles."""
