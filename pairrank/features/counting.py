"""What can be counted in a battle: odd parts change sign when A and B swap, even parts do not change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
from tqdm import tqdm

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError, unknown_name
from pairrank.features.contexts import PAIRS, PROMPTS
from pairrank.features.parsed_text import ParsedText
from pairrank.features.sides import SIDES
from pairrank.progress import shows_progress

GROUPS = tuple(dict.fromkeys([*SIDES, *PROMPTS, *PAIRS]))
"""Every group of features by name."""


@dataclass(frozen=True, eq=False)
class Features:
    """n battles in numbers, all finite."""

    odd: FloatArray
    """(n, p) differences: a measure of A minus the same measure of B."""
    even: FloatArray
    """(n, q) sums and absolute differences of the same measures, the prompt's measures, similarities."""
    odd_names: tuple[str, ...]
    """p names, "group.measure"."""
    even_names: tuple[str, ...]
    """q names: "group.measure", with ".sum" or ".gap" where two sides were put together."""

    def swap(self) -> Self:
        """The features of the same battles with A and B in each other's place."""
        return replace(self, odd=-self.odd)


def group_complaints(groups: Sequence[str], *, needs_sides: bool = False) -> list[str]:
    """Return a complaint for each unknown group, and one if `needs_sides` and no group measures the answers."""
    complaints = [unknown_name("group of features", group, GROUPS) for group in groups if group not in GROUPS]
    if needs_sides and not set(groups) & set(SIDES):
        listed = ", ".join(SIDES)
        complaints.append(f"groups = {list(groups)}: they cannot tell A from B. Add one of {listed}.")
    return complaints


def count_features(battles: Battles, groups: Sequence[str] | None = None) -> Features:
    """The features of `groups` (None: of every group); raises UserError for an unknown group.

    A battle is measured by itself: nothing here is learned, and no model's name or winner is looked at.
    """
    chosen = GROUPS if groups is None else tuple(groups)
    if complaints := group_complaints(chosen):
        raise UserError(" ".join(complaints))
    # An empty battle tells the names, so that a table without rows has its columns too.
    empty = _measures((("",),) * 3, chosen)
    side_names, even_names = tuple(empty[0]), tuple(empty[2])
    sides = np.empty((2, len(battles), len(side_names)))
    context = np.empty((len(battles), len(even_names)))
    rows = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    watched = tqdm(rows, "features", len(battles), disable=not shows_progress(), leave=False, delay=2)
    for row, texts in enumerate(watched):
        sides[0, row], sides[1, row], context[row] = _measured(texts, chosen)
    a, b = sides
    return Features(
        odd=a - b,
        even=np.hstack([a + b, np.abs(a - b), context]),
        odd_names=side_names,
        even_names=(*(f"{name}.sum" for name in side_names), *(f"{name}.gap" for name in side_names), *even_names),
    )


def concat(parts: Sequence[Features]) -> Features:
    """Several sets of columns of the same battles as one."""
    return Features(
        odd=np.hstack([part.odd for part in parts]),
        even=np.hstack([part.even for part in parts]),
        odd_names=tuple(name for part in parts for name in part.odd_names),
        even_names=tuple(name for part in parts for name in part.even_names),
    )


@lru_cache(maxsize=2**16)
def _measured(texts: tuple[tuple[str, ...], ...], groups: tuple[str, ...]) -> tuple[FloatArray, ...]:
    """The numbers alone. Every fold and every model of a run asks for the same battles: measured once a process."""
    return tuple(np.array(list(part.values())) for part in _measures(texts, groups))


def clear_cache() -> None:
    """Let go of what was measured, and of its texts: a stream of battles comes by once."""
    _measured.cache_clear()


def _measures(texts: Sequence[tuple[str, ...]], groups: Sequence[str]) -> tuple[dict[str, float], ...]:
    """The measures of A, of B, and of what they share, by "group.measure"."""
    # A cell without any turn is one empty turn, as in a file.
    prompt, *answers = (ParsedText(tuple(turns) or ("",)) for turns in texts)
    sides = [
        {f"{g}.{k}": v for g in groups if g in SIDES for k, v in SIDES[g](answer, prompt).items()}
        for answer in answers
    ]
    shared = {f"{g}.{k}": v for g in groups if g in PROMPTS for k, v in PROMPTS[g](prompt).items()}
    shared |= {f"{g}.{k}": v for g in groups if g in PAIRS for k, v in PAIRS[g](*answers).items()}
    return *sides, shared
