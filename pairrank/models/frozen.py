"""An encoder that stays as it is: its vectors are kept on disk, and a small head learns from them in seconds."""

import json
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from pairrank.data.battles import Battles
from pairrank.data.folds import hold_out
from pairrank.data.probabilities import FloatArray, Proba, from_logs, log_outcomes, softmax
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.devices import Precision, device_name
from pairrank.encoders.embedding import Embedder, Text
from pairrank.encoders.transformer import PoolingMode
from pairrank.encoders.vector_cache import open_cache
from pairrank.encoders.windows import Budget
from pairrank.errors import UserError, bounds_complaints
from pairrank.files import atomic_path, write_json
from pairrank.memo import memoise
from pairrank.models.base import Model, register
from pairrank.models.heads.linear import LinearHead, fit_linear_head, margin_task, tie_task
from pairrank.models.heads.neural import as_sides, build_head
from pairrank.training.monitor import Monitor
from pairrank.training.recipe import make_targets

HEAD_FILE, LINE_FILE = "head.safetensors", "logistic.json"
CLIP = 4.0
"""Standard deviations at which an input of the logistic head stops growing."""
CHARACTERS = 4
"""Of an average token: lengths are told without a tokenizer, which takes seconds to load."""


@dataclass(frozen=True)
class Vectors:
    """n battles as a frozen encoder sees them: (n, d) each."""

    prompt: FloatArray
    a: FloatArray
    b: FloatArray
    with_a: FloatArray
    """Of prompt and answer A as a sentence pair."""
    with_b: FloatArray
    lengths: FloatArray
    """(n, 2) log(1 + characters / 4) of both answers: about that of their tokens."""


@register("frozen")
@dataclass
class Frozen(Model):
    """Vectors of prompt, answers and pairs from a frozen encoder, and a head that compares them."""

    encoder: list[str] = field(default_factory=lambda: ["minilm"])
    """In order of preference: a local folder, a hub id with a pinned revision, or a name of the catalogue."""
    head: Literal["logistic", "difference"] = "logistic"
    """Two penalised logistic models of odd and even parts, or the difference head of `siamese`."""
    pooling: Literal["mean", "cls"] = "mean"
    """How the tokens' vectors become one."""
    max_tokens: int = 256
    """The window of one text, special tokens included; at most what the encoder has positions for."""
    budget: Literal["fair", "head+tail", "latest"] = "fair"
    """What of a text is kept where it does not fit: the head, both ends, or the latest turns."""
    lengths: bool = True
    """The head also sees the logarithm of each answer's length, which the mean over tokens forgets."""
    precision: Precision = "auto"
    """In which the encoder computes; "auto" chooses for the device."""
    penalty: float = 30.0
    """L2 penalty of the logistic head on standardised inputs."""
    hidden: int = 128
    """Width of the difference head's hidden layer."""
    dropout: float = 0.1
    """Of the difference head's vectors, the same on both sides."""
    learning_rate: float = 5e-4
    """Of the difference head, trained on all battles at once."""
    weight_decay: float = 0.1
    """Of the difference head."""
    steps: int = 150
    """Of the difference head at most; it goes back to the best one by held-out training prompts."""
    hold_out: float = 0.1
    """Share of the training prompts kept out to watch the difference head; 0 takes every step."""
    soft_targets: bool = False
    """Learn the difference head from `battles.soft` where the battles carry it, instead of the winners."""
    seed: int = 0
    """Of the difference head."""

    symmetric: ClassVar[bool] = True
    """By construction: margins are odd, tie logits even."""

    def __post_init__(self) -> None:
        bounds = {
            "max_tokens": (self.max_tokens >= 1, "1 or more"),
            "penalty": (self.penalty > 0, "above 0"),
            "hidden": (self.hidden >= 1, "1 or more"),
            "dropout": (0 <= self.dropout < 1, "a share from 0 to below 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "steps": (self.steps >= 1, "1 or more"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
        }
        wrong = bounds_complaints(self, bounds)
        if self.soft_targets and self.head == "logistic":
            wrong.append('soft_targets = true: a logistic head learns from winners only. Take head = "difference".')
        if wrong:
            raise UserError(" ".join(wrong))

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Encode what is not known yet, then learn the head."""
        if not len(train):
            raise UserError("no battles to learn from.")
        self.encoder_ = find_encoder(self.encoder)
        if self.head == "difference":
            self._fit_difference(train)
        else:
            self._fit_logistic(train)
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities of A, B, tie."""
        if not len(battles):
            return np.empty((0, 3))
        vectors = self._vectors(battles)
        if self.head == "difference":
            with torch.inference_mode():
                return softmax(self.module_.eval()(*self._sides(vectors)).double().numpy())
        odd, even, _, _ = self._parts(vectors)
        tie, margin = (self.linear_[head].logits(x)[:, 0] for head, x in (("tie", even), ("margin", odd)))
        return from_logs(log_outcomes(tie, margin))

    def save(self, folder: Path) -> None:
        """Write the head, and which encoder it belongs to; the encoder itself is not copied."""
        write_json(folder / "encoder.json", {"name": self.encoder_.name, "sha256": self.encoder_.sha256})
        if self.head == "difference":
            with atomic_path(folder / HEAD_FILE) as temporary:
                save_file(self.module_.state_dict(), temporary)
        else:
            write_json(folder / LINE_FILE, {head: asdict(line) for head, line in self.linear_.items()})

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the encoder is another today."""
        self.encoder_ = find_encoder(self.encoder)
        expected = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))["sha256"]
        if self.encoder_.sha256 != expected:
            raise UserError(
                f"{folder}: learned on an encoder with SHA-256 {expected}; {self.encoder_.name} has "
                f"{self.encoder_.sha256} now. Run it again, or bring that encoder back."
            )
        if self.head == "difference":
            learned = load_file(folder / HEAD_FILE)
            # The tie's first layer reads the product and the gap of two sides.
            self._build(learned["tie.0.weight"].shape[1] // 2 - self.lengths)
            self.module_.load_state_dict(learned)
        else:
            lines = json.loads((folder / LINE_FILE).read_text(encoding="utf-8"))
            self.linear_ = {head: LinearHead(**line) for head, line in lines.items()}
        return self

    def report(self) -> dict[str, Any]:
        """Parameters of the head, encoder."""
        if self.head == "difference":
            size = sum(p.numel() for p in self.module_.parameters())
        else:
            size = sum(line.size for line in self.linear_.values())
        encoder = {"name": self.encoder_.name, "sha256": self.encoder_.sha256}
        return {"parameters": size, "encoder": encoder, "device": device_name(self.precision)}

    def _fit_logistic(self, train: Battles) -> None:
        odd, even, odd_widths, even_widths = self._parts(self._vectors(train))
        margin = fit_linear_head(margin_task(odd, -odd, train), self.penalty, CLIP, odd=True, widths=odd_widths)
        tie = fit_linear_head(tie_task(even, train), self.penalty, CLIP, odd=False, widths=even_widths)
        self.linear_ = {"tie": tie, "margin": margin}

    def _fit_difference(self, train: Battles) -> None:
        """AdamW on all battles at once; of all steps, the one that held-out prompts liked best."""
        held = torch.from_numpy(hold_out(train, self.hold_out, salt="watch"))
        if held.all():
            raise UserError("no battles to learn from. Give more of them, or a smaller hold_out.")
        vectors = self._vectors(train)
        self._build(vectors.a.shape[1])
        sides = self._sides(vectors)
        targets = torch.from_numpy(make_targets(train, self.soft_targets)).float()
        chosen = torch.from_numpy(make_targets(train)).float()
        learned, watched = ([side[rows] for side in sides] for rows in (~held, held))
        optimizer = torch.optim.AdamW(
            self.module_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        best, best_loss = deepcopy(self.module_.state_dict()), float("inf")
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for _ in range(self.steps):
                self.module_.train()
                optimizer.zero_grad()
                cross_entropy(self.module_(*learned), targets[~held]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if held.any():
                    self.module_.eval()
                    with torch.inference_mode():
                        loss = cross_entropy(self.module_(*watched), chosen[held]).item()
                    if loss < best_loss:
                        best, best_loss = deepcopy(self.module_.state_dict()), loss
        if held.any():
            self.module_.load_state_dict(best)
        if not all(parameter.isfinite().all() for parameter in self.module_.parameters()):
            raise UserError("training diverged: try a smaller learning_rate.")

    def _build(self, width: int) -> None:
        """A new difference head for vectors of this width."""
        self.module_ = build_head("difference", width + self.lengths, 0, self.hidden, self.dropout, self.seed)

    def _sides(self, vectors: Vectors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the difference head compares, as in `siamese`: the vectors of both pairs, and the lengths."""
        a, b, lengths = (torch.from_numpy(v).float() for v in (vectors.with_a, vectors.with_b, vectors.lengths))
        return as_sides(a, b, None, lengths if self.lengths else None)

    def _parts(self, vectors: Vectors) -> tuple[FloatArray, ...]:
        """Odd inputs (n, p) and even ones (n, q), and how many columns each column's block has (p) and (q)."""
        prompt, a, b, with_a, with_b = (
            _unit(getattr(vectors, name)) for name in ("prompt", "a", "b", "with_a", "with_b")
        )
        like_a, like_b, alike, pairs_alike = (
            (x * y).sum(axis=1, keepdims=True) for x, y in ((prompt, a), (prompt, b), (a, b), (with_a, with_b))
        )
        odd, even = [a - b, with_a - with_b, like_a - like_b], [prompt, alike, pairs_alike, like_a + like_b]
        if self.lengths:
            long_a, long_b = vectors.lengths[:, :1], vectors.lengths[:, 1:]
            odd.append(long_a - long_b)
            even += [long_a + long_b, np.abs(long_a - long_b)]
        widths = (
            np.concatenate([np.full(block.shape[1], block.shape[1]) for block in part]) for part in (odd, even)
        )
        return np.hstack(odd), np.hstack(even), *widths

    def _vectors(self, battles: Battles) -> Vectors:
        return _vectors_of(battles, self.encoder_, self.pooling, self.max_tokens, self.budget, self.precision)


@memoise
def _vectors_of(
    battles: Battles, encoder: Encoder, pooling: PoolingMode, max_tokens: int, budget: Budget, precision: Precision
) -> Vectors:
    embedder = Embedder(encoder, pooling, max_tokens, budget, precision, open_cache())
    texts: list[list[Text]] = [[], [], [], [], []]
    for prompt, a, b in zip(battles.prompt, battles.response_a, battles.response_b, strict=True):
        for column, text in zip(texts, ((prompt,), (a,), (b,), (prompt, a), (prompt, b)), strict=True):
            column.append(text)
    # All in one call, so that batches do not depend on which column a text stands in.
    vectors = embedder.vectors([text for column in texts for text in column]).astype(np.float64)
    lengths = [[sum(map(len, turns)) for turns in column] for column in (battles.response_a, battles.response_b)]
    prompt, a, b, with_a, with_b = np.split(vectors, len(texts))
    return Vectors(prompt, a, b, with_a, with_b, np.log1p(np.array(lengths).T / CHARACTERS))


def _unit(vectors: FloatArray) -> FloatArray:
    """Vectors of length 1; a vector of zeros stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
