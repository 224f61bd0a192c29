"""A memory that learns in three steps, and reports a loss after each."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from pairrank.models.memory import Memory

from pairrank.data.battles import Battles
from pairrank.models.base import Progress, register
from pairrank.training.monitor import Monitor


@register("stepwise")
@dataclass
class Stepwise(Memory):
    """A model whose trials can be pruned between its steps."""

    progress: ClassVar[Progress] = "epochs"

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        if monitor is not None:
            for step in (1, 2, 3):
                monitor.report(step, 2.0 - step / 10)
        return super().fit(train, folder)
