"""Parts that several models share: linear, kernel, tree and neural heads."""
