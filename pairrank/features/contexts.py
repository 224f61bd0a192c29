"""What both answers share: the prompt they were given, and how alike they are. Nothing here can tell A from B."""

import math
import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from itertools import pairwise

from pairrank.features.parsed_text import ParsedText, share
from pairrank.features.phrases import ASKING, CODE_WORDS, FICTION, MAKING, SUMS, WORKING

# Lines that end like code, and words that stand in little else.
CODE = re.compile(r"```|\bdef |\bclass |\bimport |\bSELECT |</\w|[{};]\s*$|\)\s?\{|=>|#include", re.MULTILINE)

SHINGLE = 4
"""Characters in a shingle."""
SHINGLED = 4_000
"""Characters of an answer that are cut into shingles: what lies beyond adds time and little evidence."""


def prompt_length(prompt: ParsedText) -> dict[str, float]:
    """The log of the number of characters, all turns together."""
    return {"prompt_chars": math.log1p(len(prompt.text))}


def prompt_kind(prompt: ParsedText) -> dict[str, float]:
    """What is asked for: a fact, a text, code, arithmetic; in which language; after how many turns."""
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
    """How alike two answers are: 1 for equal, 0 for nothing in common."""
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
    text = side.lower[:SHINGLED]
    return {text[i : i + SHINGLE] for i in range(len(text) - SHINGLE + 1)}


def _common_start(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _overlap(a: AbstractSet[object], b: AbstractSet[object]) -> float:
    """Jaccard's index; two empty sets are equal."""
    common = len(a & b)
    union = len(a) + len(b) - common
    return common / union if union else 1.0


PROMPTS: dict[str, Callable[[ParsedText], dict[str, float]]] = {"length": prompt_length, "prompt": prompt_kind}
"""Group name -> what it measures on the prompt."""

PAIRS: dict[str, Callable[[ParsedText, ParsedText], dict[str, float]]] = {"similarity": similarity}
"""Group name -> what it measures on two answers in either order."""
