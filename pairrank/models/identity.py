"""A diagnostic that measures how well the names of the models alone predict the winner, without any text."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pairrank.data.battles import Battles, require_both_heads
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError
from pairrank.features.ratings import NO_NAMES, PENALTY, Ratings, fit_ratings, load_ratings, names_of
from pairrank.files import write_json
from pairrank.models.base import Model, register, require_battles
from pairrank.training.monitor import Monitor


@register("identity")
@dataclass
class Identity(Model):
    """Davidson's model of the strengths of named models, without text: a diagnostic, since test battles lack names.

    An unknown model has average strength, and two unknown models tie as often as two equal ones.
    """

    penalty: float = PENALTY
    """Pulls strengths to their mean: 1 / penalty is their prior variance. Few battles per model need more."""

    symmetric: ClassVar[bool] = True
    """Margins are differences of strengths, and there is one tie logit."""
    needs_names: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.penalty <= 0:
            raise UserError(f"penalty = {self.penalty}: expected a number above 0.")

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit strengths to the battles that name both models; without any, fit the frequency of ties alone."""
        require_battles(train)
        require_both_heads(train)
        self.ratings_: Ratings = fit_ratings(train, self.penalty)
        if not self.ratings_.models:
            a, b, tie = np.bincount(train.labels, train.weights, minlength=3) + 1
            self.ratings_ = replace(self.ratings_, log_nu=float(np.log(2 * tie / (a + b))))
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities."""
        return self.ratings_.proba(*(names_of(battles, f"model_{side}") for side in "ab"))

    def save(self, folder: Path) -> None:
        """Write ratings.json."""
        write_json(folder / "ratings.json", asdict(self.ratings_))

    def load(self, folder: Path) -> Self:
        """Read ratings.json."""
        self.ratings_ = load_ratings(json.loads((folder / "ratings.json").read_text(encoding="utf-8")))
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters (a strength per model, the tie parameter) and the tie parameter."""
        report: dict[str, Any] = {"parameters": len(self.ratings_.models) + 1, "log_nu": self.ratings_.log_nu}
        return report if self.ratings_.models else report | {"warnings": [NO_NAMES]}
