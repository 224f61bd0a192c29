"""A frozen language model reads both orders of a battle; the logits of the outcomes are cached on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from pairrank.data.battles import Battles, object_array
from pairrank.data.probabilities import SWAP, FloatArray, Proba, average_orders, softmax
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.adapters import frozen_options
from pairrank.encoders.cached_batches import Text, compute_in_blocks, source_hashes
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.chat import CHAT_FILES, Template
from pairrank.encoders.decoder import WordHead, can_share_beginnings, last_hidden_after, open_causal, pad_left
from pairrank.encoders.devices import Precision, choose_precision, device
from pairrank.encoders.inference import Batch, compute_outputs, pad
from pairrank.encoders.judge_windows import (
    JudgeTemplate,
    JudgeText,
    coverage_of,
    judge_template,
    judge_texts,
    outcome_tokens,
)
from pairrank.encoders.windows import Budget, TokenCoverage, Tokens
from pairrank.vector_cache import Vector, VectorCache, cache_key

BLOCK = 64
"""Battles that are tokenised, read and written to the cache together."""

VERSION = 1
"""Version of the reading; raise it whenever a change gives the same battle other logits."""


@dataclass(frozen=True)
class Readings:
    """What a language model has read of n battles."""

    proba: Proba
    """(n, 3) probabilities of A, B and tie: the geometric mean of both orders."""
    coverage: TokenCoverage
    """How many tokens reached the model."""


@dataclass(frozen=True, slots=True)
class BothOrders:
    """The tokens of a battle in both orders, which begin alike."""

    beginning: Tokens
    straight: Tokens
    """The tokens after the beginning with A first."""
    swapped: Tokens
    """The tokens after the beginning with B first."""

    def __len__(self) -> int:
        return len(self.beginning) + len(self.straight) + len(self.swapped)

    def tobytes(self) -> bytes:
        """Return the bytes that identify this row; rows with equal bytes are read once."""
        parts = (self.beginning, self.straight, self.swapped)
        return b"".join(part.tobytes() + len(part).to_bytes(4) for part in parts)


@dataclass(frozen=True)
class OutcomeReader:
    """A frozen language model with its settings, and the cache of what it has read."""

    encoder: Encoder
    max_tokens: int = 1024
    """Window of a battle in one order, with the tokens of the layout."""
    budget: Budget = "fair"
    """What is kept of texts that do not fit."""
    template: Template = "auto"
    precision: Precision = "auto"
    bits: Bits = 32
    """Bits per weight."""
    cache: VectorCache | None = None

    def read(self, battles: Battles) -> Readings:
        """Return probabilities of the outcomes; the model is loaded only if some are not in the cache.

        A battle and the swapped battle are read as one, so that their results agree exactly. Blocks are cut from
        all distinct battles in one canonical order, and a block is read as a whole if any of it is missing. An
        interrupted call that is repeated therefore returns the same numbers. Tokens of one block are held at once.
        """
        columns = (battles.prompt, battles.response_a, battles.response_b)
        texts: list[Text] = [(prompt, min(a, b), max(a, b)) for prompt, a, b in zip(*columns, strict=True)]
        is_swapped = np.array([text[1] != a for text, a in zip(texts, battles.response_a, strict=True)], dtype=bool)
        settings = self._settings()
        keys = [cache_key(*settings, text) for text in texts]
        known = self._known(dict(zip(keys, texts, strict=True)))
        rows = np.array([known[key] for key in keys], dtype=np.float64).reshape(-1, 12)
        proba = average_orders(softmax(rows[:, :3]), softmax(rows[:, 3:6]))
        counts = rows[:, 6:].astype(np.int64).reshape(-1, 2, 3)
        # The numbers of the answers are in the order in which they were read.
        proba[is_swapped] = proba[is_swapped][:, SWAP]
        counts[is_swapped] = counts[is_swapped][:, :, [0, 2, 1]]
        return Readings(proba, coverage_of(counts))

    def _settings(self) -> tuple[Any, ...]:
        """Return everything besides the texts on which the logits depend."""
        chosen = (self.max_tokens, self.budget, self.template, choose_precision(self.precision))
        hashes = source_hashes(self.encoder, CHAT_FILES)
        return ("outcomes", VERSION, hashes, *chosen, self.bits, device().type)

    def _known(self, texts: dict[bytes, Text]) -> dict[bytes, Vector]:
        """Return 12 numbers of each battle by key: logits in both orders, tokens kept, tokens before cutting."""
        order = sorted(texts)
        known = self.cache.get(order) if self.cache else {}
        return compute_in_blocks(
            order,
            known,
            self.cache,
            lambda block: self._read([texts[key] for key in block]),
            BLOCK,
            "reading: battles",
        )

    def _read(self, texts: Sequence[Text]) -> FloatArray:
        """Return (n, 12) numbers of n battles."""
        model = self._model
        prompt, a, b = (object_array(column) for column in zip(*texts, strict=True))
        battles = Battles(object_array([str(i) for i in range(len(texts))]), prompt, a, b)
        cut = list(judge_texts(battles, model.tokenizer, model.template, self.max_tokens, self.budget))
        logits = compute_outputs(model, [model.row(text) for text in cut], model.collate, self.precision)
        return np.hstack([logits, [text.counts.ravel() for text in cut]])

    @cached_property
    def _model(self) -> "OutcomeModel":
        # bitsandbytes would otherwise quantise the head as well, three rows of which are read.
        options = frozen_options(self.bits, ("lm_head",))
        return OutcomeModel(self.encoder, self.max_tokens, self.template, options)


class OutcomeModel(nn.Module):
    """A causal language model that returns the logits of the three outcomes for both orders of a battle."""

    def __init__(self, encoder: Encoder, max_tokens: int, template: Template, options: Mapping[str, Any]) -> None:
        """Open the model with `options` from `base_options`; raises UserError if it cannot name the outcomes."""
        super().__init__()
        model, self.tokenizer = open_causal(encoder.folder, max_tokens, True, options)
        model.eval()
        self.template: JudgeTemplate = judge_template(self.tokenizer, template)
        self.words = WordHead(model, outcome_tokens(self.tokenizer, self.template))
        self.decoder = model.base_model
        self.can_share = can_share_beginnings(encoder.folder, self.decoder)

    def forward(
        self,
        shared_ids: torch.Tensor,
        shared_mask: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return (B, 6) logits: of the words for A, B and tie with A first, and again with B first."""
        # On a CPU, a pass for the beginnings saves 12 % of the time in fp32; in half precision it takes longer.
        share = self.can_share and not torch.is_autocast_enabled(input_ids.device.type)
        hidden = last_hidden_after(self.decoder, shared_ids, shared_mask, input_ids, attention_mask, share)
        logits: torch.Tensor = self.words(hidden)
        return logits.flatten(1)

    def row(self, text: JudgeText) -> BothOrders:
        """Return the tokens of a battle in both orders."""
        answers = self.template.answers
        return BothOrders(
            self.template.before_answers(text.prompt), answers(text.a, text.b), answers(text.b, text.a)
        )

    def collate(self, rows: Sequence[BothOrders]) -> Batch:
        """Return ids and mask of the beginnings (B, P), and of what follows in both orders (B, 2, T)."""
        begun = pad_left([row.beginning for row in rows])
        rest = pad([part for row in rows for part in (row.straight, row.swapped)], 0)
        after = {name: value.view(len(rows), 2, -1) for name, value in rest.items()}
        return {"shared_ids": begun["input_ids"], "shared_mask": begun["attention_mask"], **after}
