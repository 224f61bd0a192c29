"""Features are counted in a battle's texts: a swap of A and B negates the odd ones and keeps the even ones."""

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
"""Names of all groups of features."""


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers that describe n battles. All are finite."""

    odd: FloatArray
    """(n, p) differences: a measurement of A minus the same measurement of B."""
    even: FloatArray
    """(n, q) sums and absolute differences of these measurements, measurements of the prompt, and similarities."""
    odd_names: tuple[str, ...]
    """p names in the form "group.measurement"."""
    even_names: tuple[str, ...]
    """q names in the form "group.measurement", with ".sum" or ".gap" if both sides were combined."""

    def swap(self) -> Self:
        """Return the features of the same battles with A and B exchanged."""
        return replace(self, odd=-self.odd)


def group_complaints(groups: Sequence[str], *, needs_sides: bool = False, name: str = "groups") -> list[str]:
    """Return a complaint for each unknown group, and one if `needs_sides` and no group measures the answers.

    `name` is the parameter that lists the groups.
    """
    complaints = [unknown_name("group of features", group, GROUPS) for group in groups if group not in GROUPS]
    if needs_sides and not set(groups) & set(SIDES):
        listed = ", ".join(SIDES)
        complaints.append(
            f"{name} = {list(groups)}: these groups do not distinguish A from B. Add one of {listed}."
        )
    return complaints


def count_features(battles: Battles, groups: Sequence[str] | None = None) -> Features:
    """Return the features of n battles in the given groups, or in all groups if `groups` is None.

    A battle's features depend on its texts only: not on other battles, model names or winners. Raises UserError for
    an unknown group.
    """
    chosen = GROUPS if groups is None else tuple(groups)
    if complaints := group_complaints(chosen):
        raise UserError(" ".join(complaints))
    # An empty battle gives the names, so that a table without rows has columns as well.
    empty = _measure((("",),) * 3, chosen)
    side_names, shared_names = list(empty[0]), list(empty[2])
    sides = np.empty((2, len(battles), len(side_names)))
    context = np.empty((len(battles), len(shared_names)))
    rows = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    progress = tqdm(rows, "features", len(battles), disable=not shows_progress(), leave=False, delay=2)
    for row, texts in enumerate(progress):
        sides[0, row], sides[1, row], context[row] = _cached_values(texts, chosen)
    return side_features(sides[0], sides[1], context, side_names, shared_names)


def side_features(
    a: FloatArray, b: FloatArray, shared: FloatArray, side_names: Sequence[str], shared_names: Sequence[str]
) -> Features:
    """Return the features of n battles from measurements of A and of B, (n, p) each, and shared ones, (n, r).

    The shared measurements must not change when A and B are exchanged.
    """
    sums, gaps = ([f"{name}.{what}" for name in side_names] for what in ("sum", "gap"))
    return Features(
        odd=a - b,
        even=np.hstack([a + b, np.abs(a - b), shared]),
        odd_names=tuple(side_names),
        even_names=(*sums, *gaps, *shared_names),
    )


def concat(parts: Sequence[Features]) -> Features:
    """Return the columns of several sets of features of the same battles, one after the other."""
    return Features(
        odd=np.hstack([part.odd for part in parts]),
        even=np.hstack([part.even for part in parts]),
        odd_names=tuple(name for part in parts for name in part.odd_names),
        even_names=tuple(name for part in parts for name in part.even_names),
    )


@lru_cache(maxsize=2**16)
def _cached_values(texts: tuple[tuple[str, ...], ...], groups: tuple[str, ...]) -> tuple[FloatArray, ...]:
    """Return the values of `_measure`, computed once per process for all folds and models of a run."""
    return tuple(np.array(list(part.values())) for part in _measure(texts, groups))


def clear_cache() -> None:
    """Release all cached measurements and their texts, which are not used again after a part of a stream."""
    _cached_values.cache_clear()


def _measure(texts: Sequence[tuple[str, ...]], groups: Sequence[str]) -> tuple[dict[str, float], ...]:
    """Return the measurements of A, of B, and of what both share, by their names."""
    # A cell without any turn is one empty turn, as in a file.
    prompt, *answers = (ParsedText(tuple(turns) or ("",)) for turns in texts)
    sides = [
        {f"{g}.{k}": v for g in groups if g in SIDES for k, v in SIDES[g](answer, prompt).items()}
        for answer in answers
    ]
    shared = {f"{g}.{k}": v for g in groups if g in PROMPTS for k, v in PROMPTS[g](prompt).items()}
    shared |= {f"{g}.{k}": v for g in groups if g in PAIRS for k, v in PAIRS[g](*answers).items()}
    return *sides, shared
