"""A memory whose training diverged: the losses in its history are NaN."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pairrank.models.memory import Memory

from pairrank.models.base import register

COLUMNS = ["Validation Loss", "Accuracy", "Log Loss", "Runtime", "Samples Per Second", "Steps Per Second"]


@register("diverged")
@dataclass
class Diverged(Memory):
    """A model with a history that no training should leave."""

    def report(self) -> dict[str, Any]:
        numbers = dict.fromkeys(COLUMNS, np.float32(1.5))
        history = [{"Step": step, "Training Loss": float("nan"), **numbers} for step in (3, 6)]
        return {"history": history, **super().report()}
