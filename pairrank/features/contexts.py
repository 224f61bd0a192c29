"""Measurements that do not depend on the order of A and B: of the prompt, and of the similarity of both answers."""

import math
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.features.parsed_text import ParsedText, share
from pairrank.features.phrases import ASKING, CODE_WORDS, FICTION, MAKING, SUMS, WORKING

# Line ends and words that are typical of code.
CODE = re.compile(r"```|\bdef |\bclass |\bimport |\bSELECT |</\w|[{};]\s*$|\)\s?\{|=>|#include", re.MULTILINE)

SHINGLE = 4
"""Number of characters in a shingle."""
SHINGLED = 4_000
"""Number of characters of an answer that are cut into shingles. More would take time and change little."""


def prompt_length(prompt: ParsedText) -> dict[str, float]:
    """Measure the logarithm of the number of characters in all turns."""
    return {"prompt_chars": math.log1p(len(prompt.text))}


def prompt_kind(prompt: ParsedText) -> dict[str, float]:
    """Measure signs of the kind of request (a fact, a text, code, arithmetic), its language and its length."""
    first = prompt.words[0] if prompt.words else ""
    known = prompt.counts.keys()
    return {
        "turns": math.log(max(len(prompt.turns), 1)),
        "last_chars": math.log1p(len(prompt.turns[-1])),
        "lines": math.log1p(len(prompt.lines)),
        "question_marks": math.log1p(prompt.text.count("?")),
        "ends_asking": float(prompt.text.rstrip().endswith("?")),
        "asking": float(first in ASKING),
        "making": float(first in MAKING),
        "working": float(first in WORKING),
        "fiction": float(bool(known & FICTION)),
        "sums": float(bool(known & SUMS)),
        "code": float(mentions_code(prompt)),
        "digits": share(sum(map(str.isdigit, prompt.text)), len(prompt.text)),
        "foreign": prompt.foreign,
        "letters": share(sum(map(len, prompt.words)), len(prompt.words)),
        "types": share(len(prompt.counts), len(prompt.words)),
    }


def mentions_code(prompt: ParsedText) -> bool:
    """Return whether a prompt has code, or a word that is typical of requests for it."""
    return bool(CODE.search(prompt.text[:20_000])) or not CODE_WORDS.isdisjoint(prompt.counts)


def similarity(a: ParsedText, b: ParsedText) -> dict[str, float]:
    """Measure the similarity of two answers: 1 if they are equal, 0 if they have nothing in common."""
    longer, shorter = max(len(a.text), len(b.text)), min(len(a.text), len(b.text))
    last_a, last_b = (side.turns[-1].strip().lower() for side in (a, b))
    return {
        "length_ratio": share(shorter, longer) if longer else 1.0,
        "words": _overlap(set(a.counts), set(b.counts)),
        "content": _overlap(a.content, b.content),
        "contained": share(len(a.content & b.content), min(len(a.content), len(b.content))),
        "pairs": _overlap(set(pairwise(a.words)), set(pairwise(b.words))),
        "shingles": _shingle_overlap(a.lower[:SHINGLED], b.lower[:SHINGLED]),
        "numbers": _overlap(a.numbers, b.numbers),
        "prefix": math.log1p(_common_start(last_a, last_b)),
        "equal": float(last_a == last_b),
    }


def _shingle_overlap(a: str, b: str) -> float:
    """Return the Jaccard index of the sets of all substrings of `SHINGLE` characters of two texts."""
    # Sorting numbers is five times as fast as putting texts into a set.
    encoding, kind = ("ascii", "<u4") if a.isascii() and b.isascii() else ("utf-16-le", "<u8")
    encoded = [text.encode(encoding, "surrogatepass") for text in (a, b)]
    step = np.dtype(kind).itemsize // SHINGLE
    if sum(map(len, encoded)) != step * (len(a) + len(b)):  # an emoji, for example, has more than 16 bits
        return _overlap(*({text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)} for text in (a, b)))
    packed = [
        np.ndarray((max(len(each) // step - SHINGLE + 1, 0),), kind, each, strides=(step,)) for each in encoded
    ]
    one, other, union = map(_count_distinct, (*packed, np.concatenate(packed)))
    return (one + other - union) / union if union else 1.0


def _count_distinct(values: npt.NDArray[Any]) -> int:
    """Return the number of distinct values."""
    ordered = np.sort(values)
    return min(len(ordered), 1) + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def _common_start(a: str, b: str) -> int:
    """Return the length of the longest common beginning of two texts."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _overlap(a: AbstractSet[object], b: AbstractSet[object]) -> float:
    """Return the Jaccard index; 1 for two empty sets."""
    common = len(a & b)
    union = len(a) + len(b) - common
    return common / union if union else 1.0


PROMPTS: dict[str, Callable[[ParsedText], dict[str, float]]] = {"length": prompt_length, "prompt": prompt_kind}
"""Functions that measure a prompt, by group."""

PAIRS: dict[str, Callable[[ParsedText, ParsedText], dict[str, float]]] = {"similarity": similarity}
"""Functions that measure two answers regardless of their order, by group."""
