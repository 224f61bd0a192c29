"""Features are counted in a battle's texts: a swap of A and B negates the odd ones and keeps the even ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError
from pairrank.features.groups import GROUPS, find_group, group_complaints
from pairrank.features.measurements import measure, measure_one


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


def count_features(battles: Battles, groups: Sequence[str] | None = None) -> Features:
    """Return the features of n battles in the given groups, or in all of pairrank if `groups` is None.

    A battle's features depend on its texts only: not on other battles, model names or winners. Raises UserError for
    an unknown group.
    """
    names = GROUPS if groups is None else groups
    if complaints := group_complaints(names):
        raise UserError(" ".join(complaints))
    chosen = tuple(map(find_group, names))
    # An empty battle gives the names, so that a table without rows has columns as well.
    empty, _, shared = measure_one((("",),) * 3, chosen)
    rows = measure(battles, chosen).reshape(len(battles), 2 * len(empty) + len(shared))
    a, b, both = np.split(rows, [len(empty), 2 * len(empty)], axis=1)
    return side_features(a, b, both, list(empty), list(shared))


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
