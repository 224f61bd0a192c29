"""A pretrained reward model scores both answers, and two small heads turn the scores into probabilities."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray, Proba, from_logs, log_outcomes
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.chat import Template
from pairrank.encoders.devices import Precision, device_name
from pairrank.encoders.encoder_record import find_recorded_encoder, write_encoder_record
from pairrank.encoders.reward_scores import Scorer
from pairrank.encoders.vector_cache import open_cache
from pairrank.encoders.windows import Budget
from pairrank.errors import UserError, bounds_complaints
from pairrank.files import write_json
from pairrank.memo import memoise
from pairrank.models.base import Model, register, require_battles
from pairrank.models.heads.linear import LinearHead, fit_linear_head, margin_task, tie_task
from pairrank.training.monitor import Monitor

HEADS_FILE = "heads.json"
CLIP = 6.0
"""Bound of each standardised column, in standard deviations: no single score decides a battle."""


@register("reward")
@dataclass
class Reward(Model):
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
    penalty: float = 3.0
    """L2 penalty of both heads on standardised columns."""

    symmetric: ClassVar[bool] = True
    """The margin is odd and the tie logit even by construction."""

    def __post_init__(self) -> None:
        bounds = {
            "max_tokens": (self.max_tokens >= 1, "1 or more"),
            "penalty": (self.penalty > 0, "a number above 0"),
        }
        if complaints := bounds_complaints(self, bounds):
            raise UserError(" ".join(complaints))

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Score the answers whose scores are not cached yet, then fit both heads."""
        require_battles(train)
        self.encoder_ = find_encoder(self.encoder)
        odd, even = self._columns(train)
        self.linear_ = {
            "margin": fit_linear_head(margin_task(odd, -odd, train), self.penalty, CLIP, odd=True),
            "tie": fit_linear_head(tie_task(even, train), self.penalty, CLIP, odd=False),
        }
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if not len(battles):
            return np.empty((0, 3))
        odd, even = self._columns(battles)
        tie, margin = self.linear_["tie"].logits(even), self.linear_["margin"].logits(odd)
        return from_logs(log_outcomes(tie[:, 0], margin[:, 0]))

    def save(self, folder: Path) -> None:
        """Write both heads, and the name and hash of the reward model; the reward model itself is not copied."""
        write_encoder_record(self.encoder_, folder)
        write_json(folder / HEADS_FILE, {name: asdict(head) for name, head in self.linear_.items()})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the reward model has changed since."""
        self.encoder_ = find_recorded_encoder(self.encoder, folder)
        saved = json.loads((folder / HEADS_FILE).read_text(encoding="utf-8"))
        self.linear_ = {name: LinearHead(**values) for name, values in saved.items()}
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of fitted parameters, the reward model and the device."""
        return {
            "parameters": sum(head.size for head in self.linear_.values()),
            "encoder": self.encoder_.identity(),
            "device": device_name(self.precision),
        }

    def _columns(self, battles: Battles) -> tuple[FloatArray, FloatArray]:
        """Return the odd column s_a - s_b (n, 1), and the even ones |s_a - s_b| and s_a + s_b (n, 2)."""
        a, b = _scores_of(battles, self.encoder_, self.max_tokens, self.budget, self.template, self.precision)
        return (a - b)[:, None], np.stack([np.abs(a - b), a + b], axis=1)


@memoise
def _scores_of(
    battles: Battles, encoder: Encoder, max_tokens: int, budget: Budget, template: Template, precision: Precision
) -> tuple[FloatArray, FloatArray]:
    """Return the (n,) scores of answers A and of answers B."""
    scorer = Scorer(encoder, max_tokens, budget, template, precision, open_cache())
    sides = (battles.response_a, battles.response_b)
    # One call for both sides, so that batches do not depend on the side of an answer.
    texts = [text for side in sides for text in zip(battles.prompt, side, strict=True)]
    a, b = np.split(scorer.scores(texts), 2)
    return a, b
