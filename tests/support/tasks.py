"""Made-up training rows for heads."""

import numpy as np

from pairrank.models.heads.linear import Task


def some_task(n: int = 300, seed: int = 0, classes: int = 2, weighted: bool = True) -> Task:
    """Return rows of four columns, the first of which predicts the class with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    target = np.digitize(x[:, 0] + rng.normal(size=n), [0.0, 0.9][: classes - 1])
    return Task(x, target.astype(np.int64), rng.uniform(0.2, 3.0, n) if weighted else np.ones(n))
