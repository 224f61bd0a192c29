"""How expected the tokens of both answers are to a frozen language model predicts the winner."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Proba, from_logs, log_outcomes
from pairrank.encoders.catalogue import find_encoder
from pairrank.encoders.devices import Precision, device_name
from pairrank.encoders.encoder_record import find_recorded_encoder, write_encoder_record
from pairrank.encoders.likelihoods import likelihood_features
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.counting import Features, concat, count_features
from pairrank.files import write_json
from pairrank.models.base import Model, register, require_battles
from pairrank.models.heads.linear import LinearHead, fit_linear_head, margin_task, tie_task
from pairrank.training.monitor import Monitor

LOGISTIC_FILE = "logistic.json"


@register("likelihood")
@dataclass
class Likelihood(Model):
    """Two logistic heads over the log-probabilities of both answers under a frozen causal language model."""

    encoder: list[str] = field(default_factory=lambda: ["smollm2"])
    """Language models in order of preference: a folder, a hub id with a pinned revision, or a catalogue name."""
    max_tokens: int = 512
    """Tokens of a prompt and an answer together at most; bounded by the positions of the model."""
    budget: Literal["fair", "head+tail", "latest"] = "fair"
    """What is kept of a text that does not fit: its beginning, both ends, or the latest turns."""
    lengths: bool = True
    """Give the heads the logarithm of each answer's length as well, which a mean over tokens does not contain."""
    precision: Precision = "auto"
    """Precision of the language model; "auto" chooses by device."""
    penalty: float = 30.0
    """L2 penalty of both heads on standardised columns."""
    clip: float = 3.0
    """Bound of each standardised column, in standard deviations."""

    symmetric: ClassVar[bool] = True
    """Margins are odd and tie logits even by construction."""

    def __post_init__(self) -> None:
        bounds = {
            "max_tokens": (self.max_tokens >= 1, "1 or more"),
            "penalty": (self.penalty > 0, "a number above 0"),
            "clip": (self.clip > 0, "a number above 0"),
        }
        if complaints := bounds_complaints(self, bounds):
            raise UserError(" ".join(complaints))

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Read the texts that are not cached yet, then fit the margin and the tie."""
        require_battles(train)
        self.encoder_ = find_encoder(self.encoder)
        columns = self._columns(train)
        margin = margin_task(columns.odd, -columns.odd, train)
        self.linear_ = {
            "tie": fit_linear_head(tie_task(columns.even, train), self.penalty, self.clip, odd=False),
            "margin": fit_linear_head(margin, self.penalty, self.clip, odd=True),
        }
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if not len(battles):
            return np.empty((0, 3))
        columns = self._columns(battles)
        tie, margin = self.linear_["tie"].logits(columns.even), self.linear_["margin"].logits(columns.odd)
        return from_logs(log_outcomes(tie[:, 0], margin[:, 0]))

    def save(self, folder: Path) -> None:
        """Write the heads, and the name and hash of the language model, which itself is not copied."""
        write_encoder_record(self.encoder_, folder)
        write_json(folder / LOGISTIC_FILE, {head: asdict(fitted) for head, fitted in self.linear_.items()})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the language model has changed since."""
        self.encoder_ = find_recorded_encoder(self.encoder, folder)
        saved = json.loads((folder / LOGISTIC_FILE).read_text(encoding="utf-8"))
        self.linear_ = {head: LinearHead(**values) for head, values in saved.items()}
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters of the heads, the language model and the device."""
        size = sum(fitted.size for fitted in self.linear_.values())
        return {"parameters": size, "encoder": self.encoder_.identity(), "device": device_name(self.precision)}

    def _columns(self, battles: Battles) -> Features:
        settings = (self.encoder_, self.max_tokens, self.budget, self.precision)
        return concat(
            [
                likelihood_features(battles, *settings),
                *([count_features(battles, ("length",))] if self.lengths else []),
            ]
        )
