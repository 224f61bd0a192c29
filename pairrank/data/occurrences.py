"""Repeated names in a long stream are counted with 12 bytes per place of a table, and not with their texts."""

from array import array
from hashlib import blake2b


class Occurrences:
    """The number of occurrences of each name, in an open-addressing table of 64-bit hashes.

    At least half of the places are empty, so that a million names take 24 to 48 MB. The probability that any two of
    n different names are treated as equal is n² / 2⁶⁵, or 3 in 100 million for a million names.
    """

    def __init__(self) -> None:
        self._filled = 0
        self._allocate(1024)

    def add(self, name: str) -> int:
        """Add a name and return how often it has occurred, this time included."""
        key = int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        at = self._place(key)
        if not self._counts[at]:
            self._filled += 1
            self._keys[at] = key
        self._counts[at] += 1
        count = self._counts[at]
        if 2 * self._filled > len(self._keys):
            self._grow()
        return count

    def _allocate(self, places: int) -> None:
        self._keys = array("Q", bytes(8 * places))
        self._counts = array("I", bytes(4 * places))

    def _place(self, key: int) -> int:
        """Return where a key is, or else the empty place for it."""
        last = len(self._keys) - 1  # the number of places is a power of two
        at = key & last
        while self._counts[at] and self._keys[at] != key:
            at = (at + 1) & last
        return at

    def _grow(self) -> None:
        keys, counts = self._keys, self._counts
        self._allocate(2 * len(keys))
        for key, count in zip(keys, counts, strict=True):
            if count:
                at = self._place(key)
                self._keys[at], self._counts[at] = key, count
