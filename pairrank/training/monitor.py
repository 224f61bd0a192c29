"""Somebody listens while a model learns: how it does, step by step, on battles that it does not learn from."""

from collections.abc import Callable
from dataclasses import dataclass

from pairrank.data.battles import Battles

Hear = Callable[[int, float], None]
"""Told a step (1, 2, …) and the log loss after it; may raise, which ends the learning there."""


@dataclass(frozen=True)
class Watch:
    """What `fit` of a model with `learns_in` is given to be watched by; the fitted model is the same without it."""

    battles: Battles
    """To be judged by. A model that holds out training prompts for itself is judged by those."""
    hear: Hear
