"""A pretrained reward model scores both answers, and two small heads turn the scores into probabilities."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.chat import Template
from pairrank.encoders.devices import Precision
from pairrank.encoders.reward_scores import Scorer
from pairrank.encoders.windows import Budget
from pairrank.memo import memoise
from pairrank.models.base import register
from pairrank.models.linear_reader import Columns, LinearReader
from pairrank.vector_cache import open_cache

CLIP = 6.0
"""Bound of each standardised column, in standard deviations: no single score decides a battle."""


@register("reward")
@dataclass
class Reward(LinearReader):
    """The scores that a reward model gives both answers, and two penalised logistic models over them.

    P(A wins) of decided battles has the logit k (s_a - s_b), as in the Bradley-Terry model with which reward models
    are trained. P(tie) is a logistic model of |s_a - s_b| and s_a + s_b.
    """

    encoder: list[str] = field(default_factory=lambda: ["reward-model"])
    """Reward models in order of preference: a local folder, or a hub id with a pinned revision.

    A reward model has a sequence classification head with one output.
    """
    max_tokens: int = 1024
    """Tokens of prompt and answer together, special tokens included; bounded by the positions of the model."""
    budget: Literal["fair", "head+tail", "latest"] = "fair"
    """What is kept of texts that do not fit: their beginning, both ends, or the latest turns."""
    template: Template = "auto"
    """Lay out the text by the model's chat template, or as a plain pair of texts. "auto" is "chat" if there is a
    template."""
    precision: Precision = "auto"
    """Precision of the reward model; "auto" chooses by device."""
    base_bits: Bits = 32
    """Bits per weight of the reward model: 16 halves the memory, 8 and 4 quantise layers on an NVIDIA GPU."""
    penalty: float = 3.0
    """L2 penalty of both heads on standardised columns."""

    heads_file: ClassVar[str] = "heads.json"

    @property
    def _clip(self) -> float:
        return CLIP

    def _columns(self, battles: Battles) -> Columns:
        """Return the odd column s_a - s_b (n, 1), and the even ones |s_a - s_b| and s_a + s_b (n, 2)."""
        settings = (self.max_tokens, self.budget, self.template, self.precision, self.base_bits)
        a, b = _scores_of(battles, self.encoder_, *settings)
        return Columns((a - b)[:, None], np.stack([np.abs(a - b), a + b], axis=1))


@memoise
def _scores_of(
    battles: Battles,
    encoder: Encoder,
    max_tokens: int,
    budget: Budget,
    template: Template,
    precision: Precision,
    bits: Bits,
) -> tuple[FloatArray, FloatArray]:
    """Return the (n,) scores of answers A and of answers B."""
    scorer = Scorer(encoder, max_tokens, budget, template, precision, bits, open_cache())
    sides = (battles.response_a, battles.response_b)
    # One call for both sides, so that batches do not depend on the side of an answer.
    texts = [text for side in sides for text in zip(battles.prompt, side, strict=True)]
    a, b = np.split(scorer.scores(texts), 2)
    return a, b
