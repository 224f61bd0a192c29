"""N-grams of many texts are counted as numbers, in sorted arrays, which take less time and memory than texts."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pairrank.cores import usable_threads

T = TypeVar("T")

Analyzer = Literal["word", "char_wb"]
"""N-grams of words, or of characters within words."""

WORD = re.compile(r"\w+")
"""Pattern of a word. Single letters count, because "I" and "a" distinguish authors."""

BITS = 63
"""Bits of a number that holds the place of a text in its block and an n-gram."""
MOST_TEXTS = 64
"""Largest number of texts of a block. The n-grams of more do not fit into the cache of a core, and sort slower."""
FEWEST_TEXTS = 16
"""Smallest number of texts of a block: below, an n-gram needs so many bits that blocks are not worth it."""
BLOCKS_PER_THREAD = 8
"""Blocks that wait for a thread at most, with their results, which bounds the memory."""
BUFFER = 4_000_000
"""Distinct n-grams of single blocks that are collected before they are joined."""

Codes = npt.NDArray[np.int64]
"""Numbers of n-grams; their order is that of the n-grams as texts."""


class Frequencies(NamedTuple):
    """How often n-grams occur."""

    codes: Codes
    """(m,) distinct n-grams in ascending order."""
    texts: npt.NDArray[np.int64]
    """(m,) number of texts with each."""
    occurrences: npt.NDArray[np.int64]
    """(m,) number of its occurrences in all texts."""


class Counts(NamedTuple):
    """The n-grams of some texts, by text and in ascending order."""

    text: npt.NDArray[np.int64]
    """(m,) place of the text among the texts of the block."""
    codes: Codes
    """(m,) n-grams."""
    occurrences: npt.NDArray[np.int64]
    """(m,) number of occurrences in the text."""


@dataclass(frozen=True, eq=False)
class Coder:
    """Translates n-grams of up to `longest` units, which are words or characters, to numbers and back.

    A unit has a number of `bits` bits from 1, in the order of the units as texts. The number of an n-gram has those
    of its units side by side, the first one in front, and zeros at the end if it is shorter than the longest.
    """

    analyzer: Analyzer
    least: int
    longest: int
    units: tuple[str, ...]
    """The known units in ascending order."""

    @property
    def bits(self) -> int:
        """Bits of a unit."""
        return len(self.units).bit_length()

    @property
    def block(self) -> int:
        """Number of texts that are counted together; 0 if n-grams of so many units do not fit into a number."""
        fitting = 1 << max(BITS - self.bits * self.longest, 0)
        # scikit-learn counts a word that is shorter than the shortest n-gram as a whole; here words are longer.
        is_plain = self.analyzer == "word" or self.least <= 3
        return min(fitting, MOST_TEXTS) if fitting >= FEWEST_TEXTS and is_plain else 0

    def code(self, ngrams: Iterable[str]) -> Codes:
        """Return the numbers of n-grams of known units."""
        place = {unit: i for i, unit in enumerate(self.units, 1)}
        codes = []
        for ngram in ngrams:
            value = 0
            units: Sequence[str] = ngram.split(" ") if self.analyzer == "word" else ngram
            for unit in units:
                value = value << self.bits | place[unit]
            codes.append(value << self.bits * (self.longest - len(units)))
        return np.array(codes, dtype=np.int64)

    def text(self, codes: Codes) -> list[str]:
        """Return the n-grams with these numbers."""
        joint, found, mask = " " if self.analyzer == "word" else "", [], (1 << self.bits) - 1
        shifts = [self.bits * place for place in reversed(range(self.longest))]
        for code in codes.tolist():
            numbers = [code >> shift & mask for shift in shifts]
            found.append(joint.join(self.units[number - 1] for number in numbers if number))
        return found

    def each_block(self, texts: Iterable[str], work: Callable[[int, Codes], T]) -> Iterator[T]:
        """Yield what `work` makes of each block of texts, in order: of their number and of all their n-grams.

        An n-gram has the place of its text in the block before its code. Blocks are counted in several threads.
        """
        encode = _WordNumbers(self.units) if self.analyzer == "word" else _CharacterNumbers(self.units)
        remaining, threads = iter(texts), usable_threads()

        def done(block: list[str]) -> T:
            return work(len(block), self._ngrams(*encode(block)))

        blocks = iter(lambda: list(islice(remaining, self.block)), [])
        if threads == 1:
            yield from map(done, blocks)
            return
        with ThreadPoolExecutor(threads) as pool:
            while some := list(islice(blocks, BLOCKS_PER_THREAD * threads)):
                yield from pool.map(done, some)

    def _ngrams(self, units: npt.NDArray[np.int64], text: Codes, part: Codes) -> Codes:
        """Return the n-grams of known units of one part, from the units' numbers, texts and parts."""
        found = []
        packed, is_whole = text << self.bits * self.longest, np.ones(len(units), bool)
        for size in range(1, self.longest + 1):
            added = units[size - 1 :]
            packed = packed[: len(added)] | added << self.bits * (self.longest - size)
            is_whole = is_whole[: len(added)] & (added > 0)
            if size > 1:
                is_whole &= part[: len(added)] == part[size - 1 :]
            if size >= self.least:
                found.append(packed[is_whole])
        return np.concatenate(found)

    def counts(self, ngrams: Codes) -> Counts:
        """Return the distinct n-grams of each text of a block, as `each_block` makes them, with their counts."""
        keys, count = _runs(np.sort(ngrams))
        size = self.bits * self.longest
        return Counts(keys >> size, keys & ((1 << size) - 1), count)

    def frequencies(self, texts: Iterable[str]) -> Frequencies:
        """Return the n-grams of texts with their frequencies."""
        total = Frequencies(*(np.zeros(0, np.int64) for _ in Frequencies._fields))
        waiting: list[Frequencies] = []
        for found in self.each_block(texts, self._block_frequencies):
            waiting.append(found)
            if sum(len(each.codes) for each in waiting) > max(BUFFER, len(total.codes)):
                total, waiting = _joined([total, *waiting]), []
        return _joined([total, *waiting])

    def _block_frequencies(self, _: int, ngrams: Codes) -> Frequencies:
        codes, occurrences = _runs(np.sort(ngrams & ((1 << self.bits * self.longest) - 1)))
        return Frequencies(codes, _runs(np.sort(self.counts(ngrams).codes))[1], occurrences)


def coder_of_texts(texts: Iterable[str], analyzer: Analyzer, ngrams: tuple[int, int]) -> Coder:
    """Return the coder of all units of texts."""
    units: set[str] = set()
    for text in texts:
        units.update(WORD.findall(text) if analyzer == "word" else text)
    if analyzer == "char_wb":
        units = {unit for unit in units if not unit.isspace()} | {" "}
    return Coder(analyzer, *ngrams, tuple(sorted(units)))


def coder_of_ngrams(words: Iterable[str], analyzer: Analyzer, ngrams: tuple[int, int]) -> Coder:
    """Return the coder of the units of a vocabulary."""
    units = {unit for word in words for unit in (word.split(" ") if analyzer == "word" else word)}
    return Coder(analyzer, *ngrams, tuple(sorted(units)))


class _WordNumbers:
    """Turns texts into the numbers of their words, 0 for an unknown one, with their texts and parts (the texts)."""

    def __init__(self, units: Sequence[str]) -> None:
        self._place: Mapping[str, int] = {unit: i for i, unit in enumerate(units, 1)}

    def __call__(self, texts: Sequence[str]) -> tuple[Codes, Codes, Codes]:
        found = [WORD.findall(text) for text in texts]
        place = self._place
        numbers = np.fromiter((place.get(word, 0) for word in chain.from_iterable(found)), np.int64)
        text = np.repeat(np.arange(len(texts)), list(map(len, found)))
        return numbers, text, text


class _CharacterNumbers:
    """Turns texts into the numbers of the characters of their words, each word with a blank on both sides."""

    def __init__(self, units: Sequence[str]) -> None:
        self._place = np.zeros(0x110000, np.int64)
        self._place[list(map(ord, units))] = np.arange(1, len(units) + 1)

    def __call__(self, texts: Sequence[str]) -> tuple[Codes, Codes, Codes]:
        padded = [f" {'  '.join(words)} " if (words := text.split()) else "" for text in texts]
        points = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), "<u4")
        is_blank = points == 0x20
        # A word begins where two blanks meet.
        begins = np.append(False, is_blank[1:] & is_blank[:-1])[: len(points)]
        text = np.repeat(np.arange(len(texts)), list(map(len, padded)))
        return self._place[points], text, np.cumsum(begins)


def _runs(ordered: Codes) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Return the distinct values of an ascending array and the number of each."""
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    return ordered[starts], np.diff(np.append(starts, len(ordered)))


def _joined(parts: Sequence[Frequencies]) -> Frequencies:
    """Return the frequencies in all texts from those in parts of them."""
    codes, *numbers = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    if not len(starts):
        return Frequencies(codes, *numbers)
    return Frequencies(ordered[starts], *(np.add.reduceat(each[order], starts) for each in numbers))
