"""Repeated ids in a long stream are recognised with 8 bytes of memory per id."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class SeenIds:
    """A set of ids that keeps 64 bits of the hash of each id: 8 MB per million ids.

    The hashes are in sorted runs, each at least twice as long as the next. The probability that any two of n
    different ids are treated as equal is n² / 2⁶⁵, or 3 in 100 million for a million ids.
    """

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def mark(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Add n ids and return the (n,) mask of those that occurred before, in this call or an earlier one."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in ids]
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
