"""A memory that learns in three steps, and reports a loss after each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pairrank.models.memory import Memory

from pairrank.data.battles import Battles
from pairrank.models.base import register


@register("stepwise")
@dataclass
class Stepwise(Memory):
    """A model whose trials can be pruned between its steps."""

    learns_in: ClassVar[str] = "looks"

    def fit(self, train: Battles, folder: Path | None = None, monitor: Any = None) -> Self:
        if monitor is not None:
            for step in (1, 2, 3):
                monitor.report(step, 2.0 - step / 10)
        return super().fit(train, folder)
