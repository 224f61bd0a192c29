"""Measurements that do not depend on the order of A and B: of the prompt, and of the similarity of both answers."""

import math
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from itertools import pairwise

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
        "code": float(bool(CODE.search(prompt.text[:20_000])) or bool(known & CODE_WORDS)),
        "digits": share(sum(map(str.isdigit, prompt.text)), len(prompt.text)),
        "foreign": prompt.foreign,
        "letters": share(sum(map(len, prompt.words)), len(prompt.words)),
        "types": share(len(prompt.counts), len(prompt.words)),
    }


def similarity(a: ParsedText, b: ParsedText) -> dict[str, float]:
    """Measure the similarity of two answers: 1 if they are equal, 0 if they have nothing in common."""
    longer, shorter = max(len(a.text), len(b.text)), min(len(a.text), len(b.text))
    last_a, last_b = (side.turns[-1].strip().lower() for side in (a, b))
    numbers_a, numbers_b = ({word for word in side.counts if word.isdecimal()} for side in (a, b))
    return {
        "length_ratio": share(shorter, longer) if longer else 1.0,
        "words": _overlap(set(a.counts), set(b.counts)),
        "content": _overlap(a.content, b.content),
        "contained": share(len(a.content & b.content), min(len(a.content), len(b.content))),
        "pairs": _overlap(set(pairwise(a.words)), set(pairwise(b.words))),
        "shingles": _overlap(_shingles(a), _shingles(b)),
        "numbers": _overlap(numbers_a, numbers_b),
        "prefix": math.log1p(_common_start(last_a, last_b)),
        "equal": float(last_a == last_b),
    }


def _shingles(side: ParsedText) -> set[str]:
    """Return all substrings of `SHINGLE` characters at the beginning of a text."""
    text = side.lower[:SHINGLED]
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


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
