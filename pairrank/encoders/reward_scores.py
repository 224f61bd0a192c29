"""A reward model scores each answer after its prompt once, and a cache on disk keeps the scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.adapters import frozen_options
from pairrank.encoders.answer_tokens import TextRow
from pairrank.encoders.cached_batches import Text, compute_cached, source_hashes
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.chat import CHAT_FILES, Template
from pairrank.encoders.devices import Precision, choose_precision, device
from pairrank.encoders.inference import compute_outputs
from pairrank.encoders.opening import check_positions
from pairrank.encoders.pair_texts import choose_layout, iterate_rows
from pairrank.encoders.reward_model import RewardModel
from pairrank.encoders.windows import Budget
from pairrank.errors import UserError
from pairrank.vector_cache import VectorCache, cache_key

VERSION = 1
"""Version of the scoring; raise it whenever a change gives the same text another score."""


@dataclass(frozen=True)
class Scorer:
    """A reward model with its settings, and the cache of the scores it has computed."""

    encoder: Encoder
    """The folder of the reward model, with its name and the hash of its weights."""
    max_tokens: int = 1024
    """Window of prompt and answer together, special tokens included; at most the positions of the model."""
    budget: Budget = "fair"
    """What is kept of texts that do not fit the window."""
    template: Template = "auto"
    precision: Precision = "auto"
    bits: Bits = 32
    """Bits per weight."""
    cache: VectorCache | None = None

    def scores(self, texts: Sequence[Text]) -> FloatArray:
        """Return the (n,) scores of prompts with an answer; the model is not loaded if all are in the cache.

        An interrupted call that is repeated returns exactly the same scores (`compute_cached`). Raises UserError if
        the folder holds no reward model, if the window is larger than its positions or has no room, and if a score
        is not finite.
        """
        keys = self.keys(texts)
        known = compute_cached(keys, self.cache, self._rows, self._compute, "scoring")
        scores = np.array([known[keys[text]][0] for text in texts], dtype=np.float64)
        if wrong := int((~np.isfinite(scores)).sum()):
            raise UserError(
                f"{self.encoder.name}: {wrong:,} of {len(scores):,} scores are infinite or NaN. "
                'Set precision = "fp32", or use another reward model.'
            )
        return scores

    def keys(self, texts: Sequence[Text]) -> dict[Text, bytes]:
        """Return the key in the cache of each distinct text."""
        settings = (
            ("reward", VERSION),
            source_hashes(self.encoder, CHAT_FILES),
            self.max_tokens,
            self.budget,
            self.template,
            choose_precision(self.precision),
            device().type,
            *([] if self.bits == 32 else [f"{self.bits} bits"]),
        )
        return {text: cache_key(*settings, text) for text in dict.fromkeys(texts)}

    @cached_property
    def _module(self) -> RewardModel:
        # The head is small, and its output is what counts.
        options = frozen_options(self.bits, ("score", "classifier"))
        module = RewardModel(self.encoder.folder, weights=options)
        check_positions(self.encoder.name, module.positions, self.max_tokens)
        return module

    def _rows(self, texts: Sequence[Text]) -> list[TextRow]:
        """Return the token ids of each prompt with its answer, cut to the window."""
        model = self._module
        layout = choose_layout(self.template, model)
        rows = iterate_rows(texts, model.tokenizer, layout, self.max_tokens, self.budget)
        return [tokens for tokens, _, _ in rows]

    def _compute(self, rows: list[TextRow]) -> FloatArray:
        return compute_outputs(self._module, rows, self._module.collate, self.precision)
