"""One architecture a file; `base` finds them by itself."""
