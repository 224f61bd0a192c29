"""A monitor receives a model's log loss on held-out battles, step by step while the model learns."""

from collections.abc import Callable
from dataclasses import dataclass

from pairrank.data.battles import Battles

ReportLoss = Callable[[int, float], None]
"""Called with a step (1, 2, …) and the log loss after it; an exception it raises ends the training at that step."""


@dataclass(frozen=True)
class Monitor:
    """The battles that a model with `progress` scores during `fit`, and the function that receives the losses.

    A monitor does not change the fitted model.
    """

    battles: Battles
    """The battles to score. A model that holds out training prompts of its own scores those instead."""
    report: ReportLoss
