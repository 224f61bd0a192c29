"""A frozen encoder turns texts into vectors, and a cache on disk makes it encode each distinct text only once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.encoders.adapter_settings import Bits
from pairrank.encoders.adapters import frozen_options
from pairrank.encoders.answer_tokens import TextRow
from pairrank.encoders.architecture import PoolingMode, choose_pooling, has_causal_encoder
from pairrank.encoders.backend_choice import Sample
from pairrank.encoders.backends import open_backend
from pairrank.encoders.cached_batches import Text, compute_alone, compute_cached, source_hashes
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.chat import CHAT_FILES, Template
from pairrank.encoders.devices import Precision, choose_precision, default_backend, device
from pairrank.encoders.inference import Compute, compute_outputs
from pairrank.encoders.opening import check_positions
from pairrank.encoders.pair_texts import choose_layout, iterate_rows, plain_layout
from pairrank.encoders.static import StaticEncoder, is_static
from pairrank.encoders.transformer import TextEncoder
from pairrank.encoders.windows import Budget
from pairrank.errors import UserError
from pairrank.vector_cache import VectorCache, cache_key

VERSION = 2
"""Version of the encoding; raise it whenever a change gives the same text another vector."""


@dataclass(frozen=True)
class Embedder:
    """A frozen encoder with its settings, and the cache of the vectors it has computed."""

    encoder: Encoder
    pooling: PoolingMode = "mean"
    """How the vectors of the tokens become one; "answer" takes the mean of all tokens of a text that is alone."""
    max_tokens: int = 512
    """Window of a text, special tokens included; at most the number of the encoder's positions."""
    budget: Budget = "fair"
    """What is kept of a text that does not fit the window."""
    precision: Precision = "auto"
    template: Template = "plain"
    """How a prompt with an answer is laid out: by the tokenizer's chat template, or as a sentence pair.

    A text that is encoded alone is always plain.
    """
    bits: Bits = 32
    """Bits per weight."""
    backend: str = ""
    """What computes the vectors, see `Backend`; "" is `default_backend`."""
    cache: VectorCache | None = None

    def vectors(self, texts: Sequence[Text]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Return (n, d) vectors of texts in their order; the encoder is not loaded if all are in the cache.

        Batches are cut from all distinct texts in one canonical order, and a batch is encoded as a whole if any of
        its vectors is missing. An interrupted call that is repeated therefore returns exactly the same vectors. A
        static encoder computes each vector alone, so that it needs no such order.
        Raises UserError if the encoder has fewer positions than `max_tokens`, or if the window has no room for a
        text.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        precision = choose_precision(self.precision)
        settings = (
            VERSION,
            source_hashes(self.encoder),
            choose_pooling(self.pooling, self.encoder.folder),
            self.max_tokens,
            self.budget,
            precision,
            device().type,
            # Version 2 once put nothing between prompt and answer for a causal decoder.
            *(["separated"] if has_causal_encoder(self.encoder.folder) else []),
            *([] if self.bits == 32 else [f"{self.bits} bits"]),
            *([] if is_static(self.encoder.folder) else [self._backend]),
        )
        chat = () if self.template == "plain" else (self.template, source_hashes(self.encoder, CHAT_FILES))
        keys = {text: cache_key(*settings, *(chat if len(text) > 1 else ()), text) for text in dict.fromkeys(texts)}
        computed = compute_alone if is_static(self.encoder.folder) else compute_cached
        known = computed(keys, self.cache, self._tokens, self._compute)
        vectors = np.empty((len(texts), len(next(iter(known.values())))), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = known[keys[text]]
        return vectors

    def _compute(self, rows: Sequence[TextRow]) -> FloatArray:
        return compute_outputs(self._module, rows, self._module.collate, self.precision, compute=self._opened)

    @property
    def _backend(self) -> str:
        return self.backend or default_backend()

    @cached_property
    def _opened(self) -> Compute | None:
        if is_static(self.encoder.folder):
            return None
        return open_backend(self._backend, self._module.to(device()), choose_precision(self.precision))

    def sample(self, texts: Sequence[Text]) -> Sample:
        """Return the module, and the tokens of texts, to measure backends with."""
        return Sample(self._module, self._tokens(texts), self._module.collate)

    @cached_property
    def _module(self) -> TextEncoder | StaticEncoder:
        if is_static(self.encoder.folder):
            if self.bits != 32:
                raise UserError(f"base_bits = {self.bits}: a static encoder has weights of 32 bits. Set it to 32.")
            if self.pooling == "answer":
                raise UserError(
                    'pooling = "answer": the tokens of an answer have not seen its prompt in a static encoder. '
                    'Set pooling to "auto".'
                )
            return StaticEncoder(self.encoder.folder)
        module = TextEncoder(self.encoder.folder, self.pooling, weights=frozen_options(self.bits))
        check_positions(self.encoder.name, module.positions, self.max_tokens)
        return module

    def _tokens(self, texts: Sequence[Text]) -> list[TextRow]:
        """Return the token ids of each text, cut to the window, special tokens included."""
        module = self._module
        single, pairs = ([text for text in texts if len(text) == parts] for parts in (1, 2))
        rows: dict[Text, TextRow] = {}
        for group, layout in ((single, plain_layout(module, 1)), (pairs, choose_layout(self.template, module))):
            marked = self.pooling == "answer" and group is pairs
            made = iterate_rows(group, module.tokenizer, layout, self.max_tokens, self.budget, marked)
            rows |= {text: row for text, (row, _, _) in zip(group, made, strict=True)}
        return [rows[text] for text in texts]
