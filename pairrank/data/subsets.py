"""Training battles are cut to a size by whole prompts, in the order of a hash, so that smaller subsets are nested.

The code of this module is part of the identity of folds that are trained on a subset.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def training_subset(
    keys: Sequence[str], scored: npt.NDArray[np.bool_], size: int, sample: int = 0
) -> npt.NDArray[np.bool_]:
    """Return an (n,) mask of the battles that a fold's model is trained on.

    `keys` are the n split keys (`split_keys`), and `scored` is the (n,) mask of the scored fold. Battles with equal
    keys are used together: the keys are ordered by a hash, and taken until there are at least `size` battles. So a
    subset contains every smaller one of the same `sample`, and the order of the battles does not matter. Size 0, or
    a size above that of the training part, gives the whole training part.
    """
    if not size:
        return ~scored
    counts = Counter(key for key, is_scored in zip(keys, scored.tolist(), strict=True) if not is_scored)
    chosen, total = set(), 0
    for key in sorted(counts, key=lambda key: _place(key, sample)):
        if total >= size:
            break
        chosen.add(key)
        total += counts[key]
    subset: npt.NDArray[np.bool_] = ~scored & np.array([key in chosen for key in keys], dtype=np.bool_)
    return subset


def _place(key: str, sample: int) -> bytes:
    """Return the SHA-256 by which keys are ordered; its text differs from that of folds and of inner splits."""
    return hashlib.sha256(f"training subset {sample}\0{key}".encode()).digest()
