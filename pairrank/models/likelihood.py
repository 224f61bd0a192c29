"""How expected the tokens of both answers are to a frozen language model predicts the winner."""

from dataclasses import dataclass, field
from typing import Literal

from pairrank.data.battles import Battles
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.devices import Precision
from pairrank.encoders.likelihoods import likelihood_features
from pairrank.errors import bounds_complaints
from pairrank.features.counting import concat, count_features
from pairrank.models.base import register
from pairrank.models.linear_reader import Columns, LinearReader


@register("likelihood")
@dataclass
class Likelihood(LinearReader):
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
    base_bits: Bits = 32
    """Bits per weight of the language model: 16 halves the memory, 8 and 4 quantise layers on an NVIDIA GPU."""
    penalty: float = 30.0
    """L2 penalty of both heads on standardised columns."""
    clip: float = 3.0
    """Bound of each standardised column, in standard deviations."""

    @property
    def _clip(self) -> float:
        return self.clip

    def _complaints(self) -> list[str]:
        return super()._complaints() + bounds_complaints(self, {"clip": (self.clip > 0, "a number above 0")})

    def _columns(self, battles: Battles) -> Columns:
        settings = (self.max_tokens, self.budget, self.precision, self.base_bits)
        found = likelihood_features(battles, self.encoder_, *settings)
        if self.lengths:
            found = concat([found, count_features(battles, ("length",))])
        return Columns(found.odd, found.even)
