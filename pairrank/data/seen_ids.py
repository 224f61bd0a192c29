"""Which names of a long stream stood before, in 8 bytes a name."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class SeenIds:
    """Names that have passed, by 64 bits of their hash, in sorted runs, each at least twice as long as the next.

    A million take 8 MB. That any two of n different names are taken for the same has the probability n² / 2⁶⁵: 3 in
    100 million for a million names.
    """

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def mark(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) which of these names have passed before, in an earlier call or earlier in this one; all have now."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        digests = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in encoded)
        keys = np.frombuffer(digests, dtype=np.uint64)
        repeated = np.ones(len(keys), dtype=bool)
        repeated[np.unique(keys, return_index=True)[1]] = False
        for run in self._runs:
            at = np.searchsorted(run, keys)
            repeated |= run[np.minimum(at, len(run) - 1)] == keys
        if not repeated.all():
            self._runs.append(np.sort(keys[~repeated]))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            merged.sort()
            self._runs.append(merged)
        return repeated
