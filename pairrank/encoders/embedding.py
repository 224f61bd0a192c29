"""Vectors of texts from an encoder that stays as it is: every distinct text is encoded once, ever."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

from pairrank.data.turns import Turns
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.devices import Precision, choose_precision, device
from pairrank.encoders.inference import compute_outputs
from pairrank.encoders.static import StaticEncoder, is_static
from pairrank.encoders.transformer import PoolingMode, TextEncoder
from pairrank.encoders.vector_cache import Vector, VectorCache, cache_key
from pairrank.encoders.windows import Budget, Tokens, cut_rounds, special_token_wrapper, tokenise_turns
from pairrank.errors import UserError
from pairrank.files import sha256_of
from pairrank.progress import shows_progress

Text = tuple[Turns, ...]
"""One text by its turns, or a prompt and an answer that are encoded as a sentence pair."""

TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""What else than the weights a vector depends on."""

BATCH = 32
"""Texts that are encoded, and kept, at once."""

VERSION = 2
"""Of how a text becomes a vector, raised whenever the same text would get another."""


@dataclass(frozen=True)
class Embedder:
    """A frozen encoder with its window, and the cache of what it has encoded."""

    encoder: Encoder
    pooling: PoolingMode = "mean"
    max_tokens: int = 512
    budget: Budget = "fair"
    precision: Precision = "auto"
    cache: VectorCache | None = None

    def vectors(self, texts: Sequence[Text]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """(n, d) vectors of these texts, in their order. Nothing is loaded where all are known.

        Batches are cut from all distinct texts in one canonical order, and a batch of which any text is missing is
        encoded whole: so one that was interrupted and began again has the very same vectors.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        distinct = list(dict.fromkeys(texts))
        precision = choose_precision(self.precision)
        files = [self.encoder.folder / name for name in TOKENIZER_FILES]
        hashes = (self.encoder.sha256, *(sha256_of(file) if file.is_file() else "" for file in files))
        settings = (
            VERSION,
            hashes,
            self.pooling,
            self.max_tokens,
            self.budget,
            precision,
            device().type,
        )
        keys = {text: cache_key(*settings, text) for text in distinct}
        known = self.cache.get(list(keys.values())) if self.cache else {}
        if any(key not in known for key in keys.values()):
            known |= self._encode(distinct, keys, known)
        return np.stack([known[keys[text]] for text in texts])

    def _encode(
        self, texts: list[Text], keys: dict[Text, bytes], known: dict[bytes, Vector]
    ) -> dict[bytes, Vector]:
        """The vectors of every batch that has a text which is not known."""
        tokens = dict(zip(texts, self._tokens(texts), strict=True))
        order = sorted(texts, key=lambda text: (len(tokens[text]), tokens[text].tobytes(), keys[text]))
        found: dict[bytes, Vector] = {}
        with tqdm(total=len(order), desc="encoding", unit="text", disable=not shows_progress(), leave=False) as bar:
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                if any(keys[text] not in known for text in batch):
                    rows = [tokens[text] for text in batch]
                    outputs = compute_outputs(self._module, rows, self._module.collate, self.precision)
                    made = dict(zip((keys[text] for text in batch), outputs.astype(np.float32), strict=True))
                    # What is known stays: a model may have learned from it, and company changes the last digits.
                    made = {key: row for key, row in made.items() if key not in known}
                    found |= made
                    if self.cache:
                        self.cache.put(made)
                bar.update(len(batch))
        return found

    @cached_property
    def _module(self) -> TextEncoder | StaticEncoder:
        if is_static(self.encoder.folder):
            return StaticEncoder(self.encoder.folder)
        module = TextEncoder(self.encoder.folder, self.pooling)
        if module.positions is not None and self.max_tokens > module.positions:
            raise UserError(
                f"max_tokens = {self.max_tokens}: {self.encoder.name} has positions for {module.positions} tokens."
            )
        return module

    def _tokens(self, texts: Sequence[Text]) -> list[Tokens]:
        """Token ids of each text, cut to the window, special tokens included."""
        tokenizer = self._module.tokenizer
        wraps = {parts: special_token_wrapper(tokenizer, parts) for parts in (1, 2)}
        rows = []
        for text, rounds in zip(texts, tokenise_turns(texts, tokenizer), strict=True):
            wrap, marks = wraps[len(text)]
            if self.max_tokens < marks + 2:
                raise UserError(
                    f"max_tokens = {self.max_tokens}: no room for a text. It takes {marks + 2} or more."
                )
            rows.append(wrap(*cut_rounds(rounds, self.max_tokens - marks, self.budget)))
        return rows
