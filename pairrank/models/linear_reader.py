"""Models that read battles with a frozen encoder share two logistic heads, and how these are saved."""

import json
from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray, Proba, from_logs, log_outcomes
from pairrank.encoders.adapter_settings import Bits, require_bits
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.devices import Precision, device_name
from pairrank.encoders.encoder_record import find_recorded_encoder, write_encoder_record
from pairrank.errors import UserError, bounds_complaints
from pairrank.files import write_json
from pairrank.models.base import Model, require_battles
from pairrank.models.heads.linear import LinearHead, fit_linear_head, margin_task, tie_task
from pairrank.training.monitor import Monitor


class Columns(NamedTuple):
    """Numbers that were read from n battles."""

    odd: FloatArray
    """(n, p) columns that change their sign when the sides are swapped."""
    even: FloatArray
    """(n, q) columns that do not change."""
    odd_widths: FloatArray | None = None
    """(p,) sizes of the blocks that the odd columns belong to, as `fit_linear_head` uses them."""
    even_widths: FloatArray | None = None
    """(q,) sizes of the blocks that the even columns belong to."""


class LinearReader(Model):
    """A frozen encoder gives a battle odd and even columns; one logistic head reads the margin, one the tie.

    A model declares the hyperparameters below as fields, and implements the two abstract methods that follow them.
    """

    encoder: list[str]
    """Encoders in order of preference."""
    max_tokens: int
    """Tokens of one text at most."""
    precision: Precision
    """Precision of the encoder."""
    base_bits: Bits
    """Bits per weight of the encoder."""
    penalty: float
    """L2 penalty of both heads on standardised columns."""

    symmetric: ClassVar[bool] = True
    """Margins are odd and tie logits even by construction."""
    heads_file: ClassVar[str] = "logistic.json"
    """Name of the file with both heads in a saved model."""

    encoder_: Encoder
    """The encoder that was found."""
    linear_: dict[str, LinearHead]
    """The heads "tie" and "margin"."""

    @property
    @abstractmethod
    def _clip(self) -> float:
        """Bound of each standardised column, in standard deviations."""

    @abstractmethod
    def _columns(self, battles: Battles) -> Columns:
        """Return the columns of one or more battles."""

    def __post_init__(self) -> None:
        if complaints := self._complaints():
            raise UserError(" ".join(complaints))

    def _complaints(self) -> list[str]:
        """Return a sentence for each hyperparameter that is out of bounds."""
        bounds = {
            "max_tokens": (self.max_tokens >= 1, "1 or more"),
            "penalty": (self.penalty > 0, "a number above 0"),
        }
        return bounds_complaints(self, bounds)

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Read the texts that are not cached yet, then fit both heads."""
        require_battles(train)
        require_bits(self.base_bits)
        self.encoder_ = find_encoder(self.encoder)
        self._fit_heads(train)
        return self

    def _fit_heads(self, train: Battles) -> None:
        columns = self._columns(train)
        margin, tie = margin_task(columns.odd, -columns.odd, train), tie_task(columns.even, train)
        self.linear_ = {
            "tie": fit_linear_head(tie, self.penalty, self._clip, odd=False, widths=columns.even_widths),
            "margin": fit_linear_head(margin, self.penalty, self._clip, odd=True, widths=columns.odd_widths),
        }

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if not len(battles):
            return np.empty((0, 3))
        columns = self._columns(battles)
        tie, margin = self.linear_["tie"].logits(columns.even), self.linear_["margin"].logits(columns.odd)
        return from_logs(log_outcomes(tie[:, 0], margin[:, 0]))

    def save(self, folder: Path) -> None:
        """Write the heads, and the name and hash of the encoder; the encoder itself is not copied."""
        write_encoder_record(self.encoder_, folder)
        self._save_heads(folder)

    def _save_heads(self, folder: Path) -> None:
        write_json(folder / self.heads_file, {name: asdict(head) for name, head in self.linear_.items()})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the encoder has changed since."""
        require_bits(self.base_bits)
        self.encoder_ = find_recorded_encoder(self.encoder, folder)
        self._load_heads(folder)
        return self

    def _load_heads(self, folder: Path) -> None:
        saved = json.loads((folder / self.heads_file).read_text(encoding="utf-8"))
        self.linear_ = {name: LinearHead(**saved[name]) for name in ("tie", "margin")}

    def report(self) -> dict[str, Any]:
        """Return the number of fitted parameters, the encoder and the device."""
        return {
            "parameters": self._head_size(),
            "encoder": self.encoder_.identity(),
            "device": device_name(self.precision),
        }

    def _head_size(self) -> int:
        return sum(head.size for head in self.linear_.values())
