"""What a frozen module computes from texts is computed once, in batches that an interruption cannot change."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.data.turns import Turns
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.checkpoint import TOKENIZER_SETTINGS, TOKENIZERS
from pairrank.encoders.inference import Row
from pairrank.files import sha256_of
from pairrank.progress import with_progress
from pairrank.vector_cache import Vector, VectorCache

Text = tuple[Turns, ...]
"""The turns of one text, or of a prompt and an answer that are read together."""
R = TypeVar("R", bound=Row)

BATCH = 32
"""Texts that `compute_cached` computes and writes to the cache together."""

ALONE = 4_096
"""Texts that `compute_alone` cuts to tokens, computes and writes to the cache together."""

SOURCE_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""Files other than the weights on which a result depends."""

OTHER_FILES = sorted({*TOKENIZERS, *TOKENIZER_SETTINGS} - {*SOURCE_FILES})
"""More such files, which matter in a folder without tokenizer.json."""


def source_hashes(encoder: Encoder, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the hashes of an encoder's weights and of its other files, "" for one that it lacks.

    `more` are files on which the result depends besides those of the tokenizer.
    """
    others = [] if (encoder.folder / "tokenizer.json").is_file() else OTHER_FILES
    paths = [encoder.folder / name for name in (*SOURCE_FILES, *others, *more)]
    return encoder.sha256, *(sha256_of(path) if path.is_file() else "" for path in paths)


def compute_cached(
    keys: dict[Text, bytes],
    cache: VectorCache | None,
    rows_of: Callable[[list[Text]], Sequence[R]],
    compute: Callable[[list[R]], FloatArray],
    task: str = "encoding",
) -> dict[bytes, Vector]:
    """Return the (k,) numbers of each distinct text by its key, computed only where the cache lacks them.

    `rows_of` cuts texts to rows of tokens, and `compute` returns (n, k) numbers of n rows. Batches are cut from all
    texts in order of length, as `compute_in_blocks` cuts them. Without missing numbers neither function is called.
    """
    known = cache.get(list(keys.values())) if cache else {}
    if all(key in known for key in keys.values()):
        return known
    texts = list(keys)
    rows = dict(zip(texts, rows_of(texts), strict=True))
    order = sorted(texts, key=lambda text: (len(rows[text]), rows[text].tobytes(), keys[text]))
    row_of = {keys[text]: rows[text] for text in order}
    return compute_in_blocks(
        list(row_of), known, cache, lambda batch: compute([row_of[key] for key in batch]), BATCH, f"{task}: texts"
    )


def compute_alone(
    keys: dict[Text, bytes],
    cache: VectorCache | None,
    rows_of: Callable[[list[Text]], Sequence[R]],
    compute: Callable[[Sequence[R]], FloatArray],
    task: str = "encoding",
) -> dict[bytes, Vector]:
    """Return what `compute_cached` returns, for a module that computes each row alone, such as a static encoder.

    Its batches need no canonical order, so that the tokens of few texts are in memory at a time.
    """
    known = cache.get(list(keys.values())) if cache else {}
    missing = [text for text, key in keys.items() if key not in known]
    for start in with_progress(range(0, len(missing), ALONE), f"{task}: texts, batches"):
        texts = missing[start : start + ALONE]
        computed = compute(rows_of(texts)).astype(np.float32)
        new = {keys[text]: numbers for text, numbers in zip(texts, computed, strict=True)}
        known |= new
        if cache:
            cache.put(new)
    return known


def compute_in_blocks(
    order: Sequence[bytes],
    known: dict[bytes, Vector],
    cache: VectorCache | None,
    compute: Callable[[Sequence[bytes]], FloatArray],
    size: int,
    task: str,
) -> dict[bytes, Vector]:
    """Return the (k,) numbers of each key in a canonical order: those that are known, and the others computed.

    `compute` returns (n, k) numbers of n keys. Blocks of `size` are cut from all keys, and a block is computed as a
    whole if any of its numbers is missing. An interrupted call that is repeated therefore returns exactly the same
    numbers. `task` names the work in the progress bar.
    """
    found = dict(known)
    for start in with_progress(range(0, len(order), size), f"{task}, batches"):
        block = order[start : start + size]
        if any(key not in found for key in block):
            computed = dict(zip(block, compute(block).astype(np.float32), strict=True))
            # Known numbers are not replaced: a model may have learned from them, and the other rows of the
            # block change their last digits.
            new = {key: numbers for key, numbers in computed.items() if key not in found}
            found |= new
            if cache:
                cache.put(new)
    return found
