"""The frequencies of the outcomes: the baseline that every model must beat."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pairrank.data.battles import Battles, require_both_heads
from pairrank.data.probabilities import Proba, normalise
from pairrank.errors import UserError
from pairrank.files import write_json
from pairrank.models.base import Model, register, require_battles
from pairrank.training.monitor import Monitor


@register("prior")
@dataclass
class Prior(Model):
    """Predicts the class frequencies of the training battles for every battle."""

    smoothing: float = 1.0
    """Battles added to the count of each outcome, so that none has probability 0."""

    def __post_init__(self) -> None:
        if self.smoothing < 0:
            raise UserError(f"smoothing = {self.smoothing}: expected 0 or more.")

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Count the winners."""
        require_battles(train)
        require_both_heads(train)
        counts = np.bincount(train.labels, train.weights, minlength=3) + self.smoothing
        self.proba_: list[float] = normalise(counts[None, :])[0].tolist()
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) equal rows."""
        return np.tile(np.array(self.proba_), (len(battles), 1))

    def save(self, folder: Path) -> None:
        """Write prior.json."""
        write_json(folder / "prior.json", self.proba_)

    def load(self, folder: Path) -> Self:
        """Read prior.json."""
        self.proba_ = json.loads((folder / "prior.json").read_text(encoding="utf-8"))
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters: two free probabilities."""
        return {"parameters": 2}
