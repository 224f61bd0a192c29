"""Some votes need no model: identical answers are ties, and an empty answer loses to one with text.

How often is counted in the training battles, and the counts correct the predictions of any model. On arena, where
16 of 1,587 battles have identical answers, this gained every model between 0.002 and 0.010. Two refusals were tried
as well: there, the frequencies of the votes predict worse than each model that was measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.probabilities import SWAP, Proba
from pairrank.data.turns import Turns

NONE, IDENTICAL, A_EMPTY, B_EMPTY = range(4)
"""The kinds of evidence."""

PSEUDO_BATTLES = 4.0
"""How many battles a model's own prediction counts as, beside those that were counted."""

BEGINNING = 200
"""Characters of two answers that are compared before the whole answers are."""

Kinds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """How the battles of each kind were decided, as sums of weights."""

    identical: tuple[float, float, float]
    """Battles with identical answers that A has won, that B has won, and ties. The first two are equal, since such
    sides differ in nothing."""
    one_empty: tuple[float, float, float]
    """Battles with one empty answer that this answer has won, that the other answer has won, and ties."""

    def correct(self, battles: Battles, proba: Proba) -> Proba:
        """Return (n, 3) probabilities, those of battles with evidence averaged with its frequencies.

        A prediction counts as `PSEUDO_BATTLES` battles, as the mean of a Dirichlet distribution does, so that few
        counted battles change little. All other rows stay as they are.
        """
        counted = self._counts(battles)
        rows = np.flatnonzero(counted.sum(axis=1) > 0)
        corrected = proba.copy()
        counts = counted[rows]
        shares = counts + PSEUDO_BATTLES * proba[rows]
        corrected[rows] = shares / (counts.sum(axis=1, keepdims=True) + PSEUDO_BATTLES)
        return corrected

    def concerns(self, battles: Battles) -> npt.NDArray[np.bool_]:
        """Return (n,) whether a battle is of a kind that was counted."""
        concerned: npt.NDArray[np.bool_] = self._counts(battles).sum(axis=1) > 0
        return concerned

    def _counts(self, battles: Battles) -> Proba:
        """Return (n, 3) counts of the outcomes of the battles of the same kind; 0 for battles of no kind."""
        table = [(0.0, 0.0, 0.0), self.identical, self.one_empty, triple(np.array(self.one_empty)[list(SWAP)])]
        counts: Proba = np.array(table)[kinds_of(battles)].reshape(-1, 3)
        return counts


def count_evidence(train: Battles) -> Evidence:
    """Return how voters decided the training battles of each kind; those that teach one head alone are left out."""
    counts = train.taught("margin") & train.taught("tie") & train.voted
    kinds = np.where(counts, kinds_of(train), NONE)
    counted = np.zeros((4, 3))
    np.add.at(counted, (kinds, train.labels), train.weights)
    identical = (counted[IDENTICAL] + counted[IDENTICAL][list(SWAP)]) / 2
    one_empty = counted[A_EMPTY] + counted[B_EMPTY][list(SWAP)]
    return Evidence(triple(identical), triple(one_empty))


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Return three numbers as a tuple; raises ValueError for another number of them."""
    a, b, tie = map(float, values)
    return a, b, tie


def kinds_of(battles: Battles) -> Kinds:
    """Return (n,) kinds of evidence. Answers are compared without regard to white space and case."""
    return np.array(
        [_kind(a, b) for a, b in zip(battles.response_a, battles.response_b, strict=True)], dtype=np.int64
    )


def _kind(a: Turns, b: Turns) -> int:
    if a == b:
        return IDENTICAL
    one, other = "\n".join(a), "\n".join(b)
    empty_a, empty_b = not one.strip(), not other.strip()
    if empty_a != empty_b:
        return A_EMPTY if empty_a else B_EMPTY
    # Nearly all answers differ at their beginnings, and comparing whole answers takes long.
    starts = _normal(one[:BEGINNING]), _normal(other[:BEGINNING])
    length = min(map(len, starts))
    if starts[0][:length] != starts[1][:length]:
        return NONE
    return IDENTICAL if _normal(one) == _normal(other) else NONE


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
