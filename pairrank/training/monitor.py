"""A monitor receives a model's log loss on held-out battles, step by step while the model learns."""

from collections.abc import Callable
from dataclasses import dataclass

from pairrank.data.battles import Battles

ReportLoss = Callable[[int, float], None]
"""Called with a step (1, 2, …) and the log loss after it; an exception it raises ends the training at that step."""


@dataclass(frozen=True)
class Monitor:
    """Where a model with `progress` reports during `fit`; the fitted model is the same without a monitor."""

    battles: Battles
    """The battles to score. A model that holds out training prompts of its own scores those instead."""
    report: ReportLoss
