"""The importance of a column: how much it lowered the training loss, and how much shuffling it raises the loss."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pairrank.data.probabilities import FloatArray, Labels, Proba
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import Features

NAN = float("nan")


class Importance(NamedTuple):
    """How much one column contributes to a model."""

    column: str
    gain: float
    """Training loss that its splits removed, over all trees; for the linear model, the norm of its weights."""
    permutation: float
    """Increase of the log loss on held-out training battles when the column is shuffled; NaN without any."""


def importance_rows(importances: Sequence[Importance]) -> list[dict[str, Any]]:
    """Return importances as JSON can hold them, with null for NaN."""
    rows = [each._asdict() for each in importances]
    return [row | ({"permutation": None} if np.isnan(row["permutation"]) else {}) for row in rows]


def read_importances(rows: Sequence[dict[str, Any]]) -> list[Importance]:
    """Return the importances of `importance_rows`."""
    return [Importance(**(row | ({"permutation": NAN} if row["permutation"] is None else {}))) for row in rows]


def loss_increases(
    predict: Callable[[Features], Proba], columns: Features, winner: Labels, seed: int
) -> dict[str, float]:
    """Return by column how much the log loss increases when the column is shuffled among the battles (n,).

    All columns are shuffled in the same order, drawn from the seed. Without battles every increase is NaN.
    """
    if not len(winner):
        return dict.fromkeys((*columns.odd_names, *columns.even_names), NAN)
    order = np.random.default_rng(seed).permutation(len(winner))
    loss = log_loss(predict(columns), winner)
    increases = {}
    for i, name in enumerate(columns.odd_names):
        shuffled = replace(columns, odd=_shuffle(columns.odd, i, order))
        increases[name] = log_loss(predict(shuffled), winner) - loss
    for i, name in enumerate(columns.even_names):
        shuffled = replace(columns, even=_shuffle(columns.even, i, order))
        increases[name] = log_loss(predict(shuffled), winner) - loss
    return increases


def _shuffle(x: FloatArray, column: int, order: npt.NDArray[np.int64]) -> FloatArray:
    """Return a copy of (n, p) columns with one of them in another order."""
    copy = x.copy()
    copy[:, column] = copy[order, column]
    return copy
