"""What a frozen module computes from texts is computed once, in batches that an interruption cannot change."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from pairrank.data.probabilities import FloatArray
from pairrank.data.turns import Turns
from pairrank.encoders.catalogue import Encoder
from pairrank.encoders.checkpoint import TOKENIZER_SETTINGS, TOKENIZERS
from pairrank.encoders.inference import Row
from pairrank.encoders.vector_cache import Vector, VectorCache
from pairrank.files import sha256_of
from pairrank.progress import shows_progress

Text = tuple[Turns, ...]
"""The turns of one text, or of a prompt and an answer that are read together."""
R = TypeVar("R", bound=Row)

BATCH = 32
"""Texts that are computed and written to the cache together."""

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
    texts in one canonical order, and a batch is computed as a whole if any of its numbers is missing. An
    interrupted call that is repeated therefore returns exactly the same numbers. `task` names the work in the
    progress bar. Without missing numbers neither function is called.
    """
    known = cache.get(list(keys.values())) if cache else {}
    if all(key in known for key in keys.values()):
        return known
    texts = list(keys)
    rows = dict(zip(texts, rows_of(texts), strict=True))
    order = sorted(texts, key=lambda text: (len(rows[text]), rows[text].tobytes(), keys[text]))
    found: dict[bytes, Vector] = {}
    with tqdm(total=len(order), desc=task, unit="text", disable=not shows_progress(), leave=False) as bar:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            if any(keys[text] not in known for text in batch):
                outputs = compute([rows[text] for text in batch]).astype(np.float32)
                computed = dict(zip((keys[text] for text in batch), outputs, strict=True))
                # Known numbers are not replaced: a model may have learned from them, and the other texts of the
                # batch change their last digits.
                new = {key: vector for key, vector in computed.items() if key not in known}
                found |= new
                if cache:
                    cache.put(new)
            bar.update(len(batch))
    return known | found
