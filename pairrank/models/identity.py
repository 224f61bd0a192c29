"""What the models' names alone tell: how far one gets without reading a word, in battles that name them."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError
from pairrank.features.ratings import NO_NAMES, PENALTY, Ratings, fit_ratings, load_ratings, names_of
from pairrank.files import write_json
from pairrank.models.base import Model, register
from pairrank.training.monitor import Monitor


@register("identity")
@dataclass
class Identity(Model):
    """Davidson's model of who answers, and no text: a diagnostic, since test battles lack names.

    An unknown model has the strength of the average; two of them tie as often as equals do.
    """

    penalty: float = PENALTY
    """Draws strengths to their mean: 1 / penalty is their prior's variance. More for fewer battles a model."""

    symmetric: ClassVar[bool] = True
    """By construction: margins are differences of strengths, and there is one tie logit."""
    needs_names: ClassVar[bool] = True
    """It reads what test battles lack."""

    def __post_init__(self) -> None:
        if self.penalty <= 0:
            raise UserError(f"penalty = {self.penalty}: expected above 0.")

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn strengths from the battles that name both models; without any, only how often there are ties."""
        self.ratings_: Ratings = fit_ratings(train, self.penalty)
        if not self.ratings_.models:
            a, b, tie = np.bincount(train.labels, train.weights, minlength=3) + 1
            self.ratings_ = replace(self.ratings_, log_nu=float(np.log(2 * tie / (a + b))))
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities."""
        return self.ratings_.proba(*(names_of(battles, f"model_{side}") for side in "ab"))

    def save(self, folder: Path) -> None:
        """Write ratings.json."""
        write_json(folder / "ratings.json", asdict(self.ratings_))

    def load(self, folder: Path) -> Self:
        """Read ratings.json."""
        self.ratings_ = load_ratings(json.loads((folder / "ratings.json").read_text(encoding="utf-8")))
        return self

    def report(self) -> dict[str, Any]:
        """A strength a model, and the tie parameter."""
        told: dict[str, Any] = {"parameters": len(self.ratings_.models) + 1, "log_nu": self.ratings_.log_nu}
        return told if self.ratings_.models else told | {"warnings": [NO_NAMES]}
