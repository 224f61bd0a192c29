"""The encoder is not trained: its vectors are cached on disk, and a small head learns from them in seconds."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles, evenly_spaced
from pairrank.data.folds import hold_out
from pairrank.data.probabilities import FloatArray, Proba, softmax
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.backend_choice import SAMPLED, choose_backend, read_backend, write_backend
from pairrank.encoders.backends import Backend
from pairrank.encoders.cached_batches import Text
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.devices import Precision
from pairrank.encoders.embedding import Embedder
from pairrank.encoders.static import is_static
from pairrank.errors import UserError, bounds_complaints
from pairrank.memo import memoise
from pairrank.models.base import register
from pairrank.models.heads.neural import as_sides, build_head
from pairrank.models.linear_reader import Columns, LinearReader
from pairrank.training.loss import battle_loss, heads_of
from pairrank.training.recipe import make_targets
from pairrank.vector_cache import open_cache

HEAD_FILE = "head.safetensors"
CLIP = 4.0
"""Bound of each standardised column of the logistic head, in standard deviations."""
CHARACTERS = 4
"""Characters per token on average. Lengths are estimated with it, since a tokenizer takes seconds to load."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of n battles from a frozen encoder, (n, d) each."""

    prompt: FloatArray
    a: FloatArray
    b: FloatArray
    with_a: FloatArray
    """Vectors of prompt and answer A, encoded as a sentence pair."""
    with_b: FloatArray
    """Vectors of prompt and answer B, encoded as a sentence pair."""
    lengths: FloatArray
    """(n, 2) log(1 + characters / 4) of both answers, about the logarithm of their tokens."""


@register("frozen")
@dataclass
class Frozen(LinearReader):
    """Vectors of prompt, answers and pairs from a frozen encoder, and a head that compares them."""

    encoder: list[str] = field(default_factory=lambda: ["minilm"])
    """Encoders in order of preference: a local folder, a hub id with a pinned revision, or a catalogue name."""
    head: Literal["logistic", "difference"] = "logistic"
    """Two penalised logistic models over odd and even columns, or the difference head of `siamese`."""
    pooling: Literal["auto", "mean", "last", "cls", "answer"] = "auto"
    """How the vectors of the tokens become one: their mean, or that of the last or first token.

    "auto" is "last" for a causal decoder, in which only the last token has seen the whole text, and else "mean".
    "answer" is the mean over the answer's tokens where it is read after its prompt; an answer without tokens there,
    and texts that are read alone, have the mean of all tokens.
    """
    max_tokens: int = 256
    """Tokens of one text at most, special tokens included; bounded by the positions of the encoder."""
    budget: Literal["fair", "head+tail", "latest"] = "fair"
    """What is kept of a text that does not fit: its beginning, both ends, or the latest turns."""
    lengths: bool = True
    """Give the head the logarithm of each answer's length as well, which a mean over tokens does not contain."""
    template: Literal["plain", "chat"] = "plain"
    """Lay out a prompt with an answer as a plain pair of texts, or by the tokenizer's chat template.

    A template is not used by itself: an embedding model that was made from a chat model often has the template of
    that model, with which it was not trained. Prompt and answers alone are always plain.
    """
    precision: Precision = "auto"
    """Precision of the encoder; "auto" chooses by device."""
    base_bits: Bits = 32
    """Bits per weight of the encoder: 16 halves the memory, 8 and 4 quantise layers on an NVIDIA GPU."""
    penalty: float = 30.0
    """L2 penalty of the logistic head on standardised columns."""
    hidden: int = 128
    """Width of the difference head's hidden layer."""
    head_dropout: float = 0.1
    """Dropout on the vectors of the difference head, with one mask for both sides."""
    learning_rate: float = 5e-4
    """Learning rate of the difference head, which is trained on all battles at once."""
    weight_decay: float = 0.1
    """Weight decay of the difference head."""
    steps: int = 150
    """Training steps of the difference head at most; the step with the lowest held-out loss is kept."""
    hold_out: float = 0.1
    """Share of the training prompts that chooses the step of the difference head; 0 uses the last step."""
    soft_targets: bool = False
    """Train the difference head on `battles.soft`, if the battles carry it, instead of the winners."""
    backend: Backend = "auto"
    """What computes the vectors; "auto" is measured where it pays."""
    seed: int = 0
    """Seed of the difference head."""

    backend_ = ""
    # Without an annotation it is no field: the backend of all vectors, and "" for a static encoder.

    renamed: ClassVar[Mapping[str, str]] = {"dropout": "head_dropout"}

    @property
    def _clip(self) -> float:
        return CLIP

    def _complaints(self) -> list[str]:
        bounds = {
            "hidden": (self.hidden >= 1, "1 or more"),
            "head_dropout": (0 <= self.head_dropout < 1, "a share from 0 to below 1"),
            "learning_rate": (self.learning_rate > 0, "a number above 0"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "steps": (self.steps >= 1, "1 or more"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
        }
        complaints = super()._complaints() + bounds_complaints(self, bounds)
        if self.soft_targets and self.head == "logistic":
            complaints.append(
                'soft_targets = true: a logistic head learns from winners only. Set head = "difference".'
            )
        return complaints

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities of A, B and tie."""
        if self.head == "logistic" or not len(battles):
            return super().predict_proba(battles)
        with torch.inference_mode():
            return softmax(self.module_.eval()(*self._sides(self._vectors(battles))).double().numpy())

    def _save_heads(self, folder: Path) -> None:
        if self.backend_:
            write_backend(self.backend_, folder)
        if self.head == "logistic":
            super()._save_heads(folder)
            return
        with atomic_path(folder / HEAD_FILE) as path:
            save_file(self.module_.state_dict(), path)

    def _load_heads(self, folder: Path) -> None:
        self.backend_ = read_backend(folder)
        if self.head == "logistic":
            super()._load_heads(folder)
            return
        learned = load_file(folder / HEAD_FILE)
        # The first layer of the tie reads the product and the absolute difference of both sides.
        self._build(learned["tie.0.weight"].shape[1] // 2 - self.lengths)
        self.module_.load_state_dict(learned)

    def _head_size(self) -> int:
        if self.head == "logistic":
            return super()._head_size()
        return sum(parameter.numel() for parameter in self.module_.parameters())

    def _fit_heads(self, train: Battles) -> None:
        self.backend_ = self._choose_backend(train)
        if self.head == "logistic":
            super()._fit_heads(train)
        else:
            self._fit_difference(train)

    def _fit_difference(self, train: Battles) -> None:
        """Train by AdamW on all battles at once, and keep the step with the lowest loss on held-out prompts."""
        held = torch.from_numpy(hold_out(train, self.hold_out, salt="watch"))
        if held.all():
            raise UserError("there are no battles to learn from. Use more battles or a smaller hold_out.")
        vectors = self._vectors(train)
        self._build(vectors.a.shape[1])
        sides = self._sides(vectors)
        targets = torch.from_numpy(make_targets(train, self.soft_targets)).float()
        winners = torch.from_numpy(make_targets(train)).float()
        taught = heads_of(train)
        heads = None if taught is None else torch.from_numpy(taught).float()[~held]
        learned, validation = ([side[rows] for side in sides] for rows in (~held, held))
        optimizer = torch.optim.AdamW(
            self.module_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        best, best_loss = deepcopy(self.module_.state_dict()), float("inf")
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for _ in range(self.steps):
                self.module_.train()
                optimizer.zero_grad()
                battle_loss(self.module_(*learned), targets[~held], heads).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if held.any():
                    self.module_.eval()
                    with torch.inference_mode():
                        loss = battle_loss(self.module_(*validation), winners[held]).item()
                    if loss < best_loss:
                        best, best_loss = deepcopy(self.module_.state_dict()), loss
        if held.any():
            self.module_.load_state_dict(best)
        if not all(parameter.isfinite().all() for parameter in self.module_.parameters()):
            raise UserError("training diverged: try a smaller learning_rate.")

    def _build(self, width: int) -> None:
        """Build a new difference head for vectors of this width."""
        self.module_ = build_head("difference", width + self.lengths, 0, self.hidden, self.head_dropout, self.seed)

    def _sides(self, vectors: Vectors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the inputs of the difference head, as in `siamese`: the vectors of both pairs, and the lengths."""
        a, b, lengths = (torch.from_numpy(v).float() for v in (vectors.with_a, vectors.with_b, vectors.lengths))
        return as_sides(a, b, None, lengths if self.lengths else None)

    def _columns(self, battles: Battles) -> Columns:
        vectors = self._vectors(battles)
        prompt, a, b = _unit(vectors.prompt), _unit(vectors.a), _unit(vectors.b)
        with_a, with_b = _unit(vectors.with_a), _unit(vectors.with_b)
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
        return Columns(np.hstack(odd), np.hstack(even), *widths)

    def report(self) -> dict[str, Any]:
        """Return the number of fitted parameters, the encoder, the device, and the backend of the vectors."""
        report = super().report()
        return report | ({"device": f"{report['device']}, {self.backend_}"} if self.backend_ else {})

    def _choose_backend(self, train: Battles) -> str:
        """Return the backend for the texts of these battles, measured on some of them if that pays."""
        if is_static(self.encoder_.folder):
            return ""
        some = evenly_spaced(train, SAMPLED)
        texts = [text for column in _columns_of_texts(some) for text in column]
        tokens = sum(min(self.max_tokens, sum(map(len, chain(*text))) / CHARACTERS) for text in texts)
        return choose_backend(
            self.backend,
            self.encoder_,
            f"vectors, {self.pooling}, {self.base_bits} bits",
            self.precision,
            self.max_tokens,
            len(train) / len(some) * tokens,
            lambda: Embedder(self.encoder_, *self._settings).sample(texts),
        )

    @property
    def _settings(self) -> tuple[Any, ...]:
        """The settings of an embedder, in the order of its fields."""
        chosen = (self.pooling, self.max_tokens, self.budget, self.precision, self.template, self.base_bits)
        return (*chosen, self.backend_)

    def _vectors(self, battles: Battles) -> Vectors:
        return _vectors_of(battles, self.encoder_, self._settings)


@memoise
def _vectors_of(battles: Battles, encoder: Encoder, settings: Sequence[Any]) -> Vectors:
    embedder = replace(Embedder(encoder, *settings), cache=open_cache())
    texts = _columns_of_texts(battles)
    # One call for all columns, so that batches do not depend on the column of a text.
    vectors = embedder.vectors([text for column in texts for text in column]).astype(np.float64)
    lengths = [[sum(map(len, turns)) for turns in column] for column in (battles.response_a, battles.response_b)]
    prompt, a, b, with_a, with_b = np.split(vectors, len(texts))
    return Vectors(prompt, a, b, with_a, with_b, np.log1p(np.array(lengths).T / CHARACTERS))


def _columns_of_texts(battles: Battles) -> list[list[Text]]:
    """Return the prompts, the answers of A and of B, and the prompts with each answer."""
    texts: list[list[Text]] = [[], [], [], [], []]
    for prompt, a, b in zip(battles.prompt, battles.response_a, battles.response_b, strict=True):
        for column, text in zip(texts, ((prompt,), (a,), (b,), (prompt, a), (prompt, b)), strict=True):
            column.append(text)
    return texts


def _unit(vectors: FloatArray) -> FloatArray:
    """Return vectors of length 1; a vector of zeros stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)
