"""An experiment on its data: experiment files, folds, saved results, and resuming."""
