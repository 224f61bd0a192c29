"""A frozen encoder turns texts into vectors, and a cache on disk makes it encode each distinct text only once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pairrank.data.turns import Turns
from pairrank.encoders.architecture import PoolingMode, choose_pooling, has_causal_encoder
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.checkpoint import TOKENIZER_SETTINGS, TOKENIZERS
from pairrank.encoders.devices import Precision, choose_precision, device
from pairrank.encoders.inference import compute_outputs
from pairrank.encoders.static import StaticEncoder, is_static
from pairrank.encoders.transformer import TextEncoder
from pairrank.encoders.vector_cache import Vector, VectorCache, cache_key
from pairrank.encoders.windows import Budget, Tokens, cut_rounds, special_token_wrapper, tokenise_turns
from pairrank.errors import UserError
from pairrank.files import sha256_of
from pairrank.progress import shows_progress

Text = tuple[Turns, ...]
"""The turns of one text, or of a prompt and an answer that are encoded as a sentence pair."""

TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""Files other than the weights on which a vector depends."""

OTHER_FILES = sorted({*TOKENIZERS, *TOKENIZER_SETTINGS} - {*TOKENIZER_FILES})
"""More such files, which matter in a folder without tokenizer.json."""

BATCH = 32
"""Texts that are encoded and written to the cache together."""

VERSION = 2
"""Version of the encoding; raise it whenever a change gives the same text another vector."""


@dataclass(frozen=True)
class Embedder:
    """A frozen encoder with its settings, and the cache of the vectors it has computed."""

    encoder: Encoder
    pooling: PoolingMode = "mean"
    max_tokens: int = 512
    """Window of a text, special tokens included; at most the number of the encoder's positions."""
    budget: Budget = "fair"
    """What is kept of a text that does not fit the window."""
    precision: Precision = "auto"
    cache: VectorCache | None = None

    def vectors(self, texts: Sequence[Text]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Return (n, d) vectors of texts in their order; the encoder is not loaded if all are in the cache.

        Batches are cut from all distinct texts in one canonical order, and a batch is encoded as a whole if any of
        its vectors is missing. An interrupted call that is repeated therefore returns exactly the same vectors.
        Raises UserError if the encoder has fewer positions than `max_tokens`, or if the window has no room for a
        text.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        distinct = list(dict.fromkeys(texts))
        precision = choose_precision(self.precision)
        settings = (
            VERSION,
            (self.encoder.sha256, *_tokenizer_hashes(self.encoder.folder)),
            choose_pooling(self.pooling, self.encoder.folder),
            self.max_tokens,
            self.budget,
            precision,
            device().type,
            # Version 2 once put nothing between prompt and answer for a causal decoder.
            *(["separated"] if has_causal_encoder(self.encoder.folder) else []),
        )
        keys = {text: cache_key(*settings, text) for text in distinct}
        known = self.cache.get(list(keys.values())) if self.cache else {}
        if any(key not in known for key in keys.values()):
            known |= self._encode(distinct, keys, known)
        return np.stack([known[keys[text]] for text in texts])

    def _encode(
        self, texts: list[Text], keys: dict[Text, bytes], known: dict[bytes, Vector]
    ) -> dict[bytes, Vector]:
        """Encode every batch with a text that is not in `known`, and return the new vectors by key."""
        tokens = dict(zip(texts, self._tokens(texts), strict=True))
        order = sorted(texts, key=lambda text: (len(tokens[text]), tokens[text].tobytes(), keys[text]))
        found: dict[bytes, Vector] = {}
        with tqdm(total=len(order), desc="encoding", unit="text", disable=not shows_progress(), leave=False) as bar:
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                if any(keys[text] not in known for text in batch):
                    rows = [tokens[text] for text in batch]
                    outputs = compute_outputs(self._module, rows, self._module.collate, self.precision)
                    encoded = dict(zip((keys[text] for text in batch), outputs.astype(np.float32), strict=True))
                    # A known vector is not replaced: a model may have learned from it, and the other texts of the
                    # batch change its last digits.
                    new = {key: vector for key, vector in encoded.items() if key not in known}
                    found |= new
                    if self.cache:
                        self.cache.put(new)
                bar.update(len(batch))
        return found

    @cached_property
    def _module(self) -> TextEncoder | StaticEncoder:
        if is_static(self.encoder.folder):
            return StaticEncoder(self.encoder.folder)
        module = TextEncoder(self.encoder.folder, self.pooling)
        if module.positions is not None and self.max_tokens > module.positions:
            raise UserError(
                f"max_tokens = {self.max_tokens}: {self.encoder.name} has positions for {module.positions} tokens. "
                f"Set max_tokens to {module.positions} or less."
            )
        return module

    def _tokens(self, texts: Sequence[Text]) -> list[Tokens]:
        """Return the token ids of each text, cut to the window, special tokens included."""
        tokenizer = self._module.tokenizer
        wrappers = {parts: special_token_wrapper(tokenizer, parts, self._module.closed) for parts in (1, 2)}
        rows = []
        for text, rounds in zip(texts, tokenise_turns(texts, tokenizer), strict=True):
            wrap, special = wrappers[len(text)]
            if self.max_tokens < special + 2:
                raise UserError(
                    f"max_tokens = {self.max_tokens}: the window has no room for a text. "
                    f"Set it to {special + 2} or more."
                )
            rows.append(wrap(*cut_rounds(rounds, self.max_tokens - special, self.budget)))
        return rows


def _tokenizer_hashes(folder: Path) -> list[str]:
    """Return the SHA-256 of each file that the tokens of a text depend on; "" for one that is missing."""
    names = [*TOKENIZER_FILES, *([] if (folder / "tokenizer.json").is_file() else OTHER_FILES)]
    return [sha256_of(folder / name) if (folder / name).is_file() else "" for name in names]
