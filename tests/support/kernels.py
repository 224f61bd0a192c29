"""The formulas of the kernels, for one pair of points at a time."""

import numpy as np


def odd_by_hand(x: np.ndarray, y: np.ndarray, rbf: float, length: float) -> float:
    near, far = (np.exp(-((x - s * y) ** 2).sum() / (2 * length**2 * len(x))) for s in (1, -1))
    return (1 - rbf) * x @ y / len(x) + rbf * (near - far) / 2


def even_by_hand(x: np.ndarray, y: np.ndarray, rbf: float, length: float) -> float:
    return (1 - rbf) * x @ y / len(x) + rbf * np.exp(-((x - y) ** 2).sum() / (2 * length**2 * len(x)))
