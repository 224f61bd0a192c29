"""A frozen causal language model measures how expected the tokens of each answer are, given its prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.adapters import frozen_options
from pairrank.encoders.cached_batches import Text, compute_cached, source_hashes
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.chat import CHAT_FILES
from pairrank.encoders.cpu import release_memory
from pairrank.encoders.decoder import logit_scale, open_causal, probe_of
from pairrank.encoders.devices import Precision, choose_precision, device
from pairrank.encoders.inference import Batch, compute_outputs, pad
from pairrank.encoders.likelihood_texts import ANSWER, PROMPT, ScoredLayout, ScoredTokens
from pairrank.encoders.padding import is_close
from pairrank.encoders.windows import Budget, tokenise_turns
from pairrank.errors import UserError
from pairrank.features.counting import Features, side_features
from pairrank.memo import memoise
from pairrank.vector_cache import VectorCache, cache_key, open_cache

STATISTICS = ("mean", "spread", "q10", "q50", "q90", "first", "last")
"""Statistics of the log-probabilities of an answer's tokens: mean, standard deviation, quantiles, and the means of
the first and of the last quarter."""

QUANTILES = (0.1, 0.5, 0.9)

MAX_TOKENS = 512
"""Tokens of a prompt and an answer together, if nothing else is said."""

PIECE = 2**22
"""Logits that are held at once: 16 MB in fp32, where those of 2,048 tokens of a large vocabulary take over 1 GB."""

VERSION = 1
"""Version of the computation; raise it whenever a change gives the same text other numbers."""


@memoise
def likelihood_features(
    battles: Battles,
    encoder: Encoder,
    max_tokens: int = MAX_TOKENS,
    budget: Budget = "fair",
    precision: Precision = "auto",
    bits: Bits = 32,
) -> Features:
    """Return the features of n battles from the log-probabilities of their tokens: `STATISTICS` of both sides.

    The mean over the first turn of the prompt is shared; texts without tokens count as 0. Raises UserError if the
    encoder is no causal language model, or has no room for the window.
    """
    reader = LikelihoodReader(encoder, max_tokens, budget, precision, bits, open_cache())
    # One call for both sides, so that batches do not depend on the side of an answer.
    sides = ((battles.prompt, answers) for answers in (battles.response_a, battles.response_b))
    texts = [text for side in sides for text in zip(*side, strict=True)]
    a, b = np.split(reader.statistics(texts), 2)
    # The prompt is read once with each answer, and may be cut differently.
    prompt = (a[:, -1:] + b[:, -1:]) / 2
    names = [f"likelihood.{name}" for name in STATISTICS]
    return side_features(a[:, :-1], b[:, :-1], prompt, names, ["likelihood.prompt"])


@dataclass(frozen=True)
class LikelihoodReader:
    """A frozen causal language model with its settings, and the cache of the statistics it has computed."""

    encoder: Encoder
    max_tokens: int = MAX_TOKENS
    """Window of a prompt, an answer and their layout; at most the number of the model's positions."""
    budget: Budget = "fair"
    """What is kept of texts that do not fit the window."""
    precision: Precision = "auto"
    bits: Bits = 32
    """Bits per weight."""
    cache: VectorCache | None = None

    def statistics(self, texts: Sequence[Text]) -> FloatArray:
        """Return (n, 8) statistics of n pairs of a prompt and an answer: `STATISTICS`, and the mean of the prompt.

        They are computed, cached and repeated like the vectors of `Embedder.vectors`. The model is not loaded if
        all are in the cache.
        """
        if not texts:
            return np.zeros((0, len(STATISTICS) + 1))
        settings = (
            "likelihoods",
            VERSION,
            source_hashes(self.encoder, CHAT_FILES),
            self.max_tokens,
            self.budget,
            choose_precision(self.precision),
            device().type,
            *([] if self.bits == 32 else [f"{self.bits} bits"]),
        )
        keys = {text: cache_key(*settings, text) for text in dict.fromkeys(texts)}
        known = compute_cached(keys, self.cache, self._rows, self._compute, "likelihoods")
        return np.stack([known[keys[text]] for text in texts]).astype(np.float64)

    def _rows(self, texts: Sequence[Text]) -> list[ScoredTokens]:
        tokenizer = self._model.tokenizer
        layout = ScoredLayout(tokenizer, self.max_tokens, self.budget)
        return [layout.row(rounds) for rounds in tokenise_turns(texts, tokenizer)]

    def _compute(self, rows: list[ScoredTokens]) -> FloatArray:
        outputs = compute_outputs(self._model, rows, self._model.collate, self.precision)
        release_memory()  # otherwise memory in pieces of ever new sizes grows to several times what is used
        return outputs

    @cached_property
    def _model(self) -> "LanguageModel":
        # The head turns small differences between vectors into logits, so it is not quantised.
        options = frozen_options(self.bits, ("lm_head",))
        return LanguageModel(self.encoder.folder, self.max_tokens, options)


class LanguageModel(nn.Module):
    """A causal language model with its tokenizer, which returns statistics of the log-probabilities of a text."""

    def __init__(self, folder: Path, max_tokens: int, options: Mapping[str, Any]) -> None:
        """Open the model in `folder` with `options` from `base_options`.

        Raises UserError as `open_causal` does, and for logits of an unknown kind.
        """
        super().__init__()
        self.model, self.tokenizer = open_causal(folder, max_tokens, True, options)
        self.model.eval()
        self.scale = logit_scale(self.model.config)
        if not _has_known_logits(self.model):
            raise UserError(
                f"{folder}: the logits of {self.model.config.model_type} are computed in a way that is not known "
                "here. Use another language model, such as smollm2."
            )

    def forward(self, input_ids: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Return (B, 8) statistics in fp32 for token ids and their `ScoredTokens.kinds`, (B, T) each."""
        # Padding comes last, where no scored token sees it, so that no mask slows attention down.
        hidden = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        scored = kinds[:, 1:] > 0
        found = self._log_probabilities(hidden[:, :-1][scored], input_ids[:, 1:][scored])
        values = torch.zeros(scored.shape, device=found.device).masked_scatter(scored, found)
        return torch.stack([_statistics(row, kind) for row, kind in zip(values, kinds[:, 1:], strict=True)])

    def _log_probabilities(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return (N,) log-probabilities of the tokens `targets` (N,) from the vectors before them, (N, d)."""
        head = self.model.get_output_embeddings()
        positions = max(1, PIECE // head.weight.shape[0])
        pieces = [slice(start, start + positions) for start in range(0, len(targets), positions)]
        losses = [
            cross_entropy(self.scale(head(hidden[at]).float()), targets[at], reduction="none") for at in pieces
        ]
        return -torch.cat(losses) if losses else hidden.new_zeros(0, dtype=torch.float32)

    def collate(self, rows: Sequence[ScoredTokens]) -> Batch:
        """Return token ids and kinds (B, T), padded to the longest row."""
        ids = pad([row.tokens for row in rows], padding=0)["input_ids"]  # any token, since none sees it
        kinds = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            kinds[i, : len(row)] = torch.from_numpy(row.kinds)
        return {"input_ids": ids, "kinds": kinds}


def _statistics(values: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """Return the (8,) statistics of one text from the log-probabilities and kinds of its tokens, (T,) each."""
    answer, prompt = values[kinds == ANSWER], values[kinds == PROMPT]
    surprise = prompt.mean() if len(prompt) else values.new_zeros(())
    if not len(answer):
        return torch.cat([values.new_zeros(len(STATISTICS)), surprise[None]])
    quarter = -(-len(answer) // 4)
    quantiles = answer.quantile(torch.tensor(QUANTILES, device=answer.device))
    ends = [answer[:quarter].mean(), answer[-quarter:].mean(), surprise]
    return torch.cat([torch.stack([answer.mean(), answer.std(correction=0)]), quantiles, torch.stack(ends)])


@torch.inference_mode()
def _has_known_logits(model: Any) -> bool:
    """Return whether the head and `logit_scale` map the last hidden states of a language model to its logits."""
    ids = probe_of(model)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits = model(input_ids=ids, use_cache=False).logits
    found = logit_scale(model.config)(model.get_output_embeddings()(hidden))
    return is_close(model, found.float(), logits.float())
