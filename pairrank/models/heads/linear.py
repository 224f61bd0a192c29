"""Penalised logistic regression for a tie (even columns), for a winner (odd columns), or for all three outcomes."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, Winner, require_both_heads
from pairrank.data.probabilities import FloatArray, Labels
from pairrank.features.scaling import Scaling, fit_scaling

HeadName = Literal["tie", "margin", "outcome"]
"""What a head predicts: P(tie) of all battles, P(A wins) of decided battles, or all three outcomes at once."""


@dataclass(frozen=True)
class LinearHead:
    """A fitted linear model: k logits from p standardised and clipped columns."""

    centre: list[float]
    """(p,) numbers that are subtracted; 0 for an odd column, so that its sign is kept."""
    scale: list[float]
    """(p,) numbers that the columns are then divided by."""
    clip: float
    """The largest absolute value after the division."""
    weights: list[list[float]]
    """(k, p) weights."""
    intercept: list[float]
    """(k,) intercepts."""

    @property
    def size(self) -> int:
        """The number of fitted weights and non-zero intercepts."""
        return sum(map(len, self.weights)) + sum(value != 0 for value in self.intercept)

    def logits(self, x: FloatArray) -> FloatArray:
        """Return (n, k) logits of (n, p) columns."""
        scaled = Scaling(np.array(self.centre), np.array(self.scale), self.clip)(x)
        # Sums instead of a matrix product, whose last digits depend on the number of rows.
        rows = zip(self.weights, self.intercept, strict=True)
        return np.stack([(scaled * np.array(row)).sum(axis=1) + bias for row, bias in rows], axis=1)


class Task(NamedTuple):
    """Training rows of a head."""

    x: FloatArray
    """(n, p) columns."""
    target: Labels
    """(n,) classes."""
    weight: FloatArray
    """(n,) weights of the rows."""


def complete(task: Task, classes: int) -> Task:
    """Return the task with one row of mean columns for each class without a row, so that every class is learned."""
    x, target, weight = task
    missing = np.setdiff1d(np.arange(classes), target)
    average = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
    rows = np.vstack([x, np.tile(average, (len(missing), 1))])
    return Task(rows, np.concatenate([target, missing]), np.concatenate([weight, np.ones(len(missing))]))


def tie_task(even: FloatArray, battles: Battles) -> Task:
    """Return the rows for "tie or not": all battles that teach it, once, with their even columns (n, p)."""
    rows = battles.taught("tie")
    return complete(
        Task(even[rows], (battles.labels[rows] == Winner.TIE).astype(np.int64), battles.weights[rows]), 2
    )


def margin_task(straight: FloatArray, swapped: FloatArray, battles: Battles) -> Task:
    """Return the rows for "A or B": the decided battles that teach it, in both orders.

    `straight` and `swapped` are the (n, p) columns of the battles and of the swapped battles.
    """
    decided = np.tile((battles.labels != Winner.TIE) & battles.taught("margin"), 2)
    first = np.concatenate([battles.labels == Winner.A, battles.labels == Winner.B]).astype(np.int64)
    x, weight = np.vstack([straight, swapped]), np.tile(battles.weights, 2)
    return complete(Task(x[decided], first[decided], weight[decided]), 2)


def outcome_task(straight: FloatArray, swapped: FloatArray, battles: Battles) -> Task:
    """Return the rows for "A, B or tie": all battles in both orders, with columns as for `margin_task`.

    Raises UserError if some battles teach the margin or the tie alone.
    """
    require_both_heads(battles)
    target = np.concatenate([battles.labels, battles.swap().labels])
    return complete(Task(np.vstack([straight, swapped]), target, np.tile(battles.weights, 2)), 3)


def fit_linear_head(
    task: Task, penalty: float, clip: float, odd: bool, widths: FloatArray | None = None
) -> LinearHead:
    """Fit a logistic regression with an L2 penalty (multinomial for three classes); an `odd` one has no intercept.

    `widths` (p,) is the number of columns in the block to which a column belongs. A vector of many columns is then
    penalised like a single column, and does not outweigh one such as a length.
    """
    scaling = fit_scaling(task.x, task.weight, clip, odd)
    if widths is not None:
        scaling = Scaling(scaling.centre, scaling.scale * np.sqrt(widths), clip)
    fitted = LogisticRegression(C=1 / penalty, fit_intercept=not odd, max_iter=5_000)
    fitted.fit(scaling(task.x), task.target, sample_weight=task.weight)
    intercept = np.broadcast_to(fitted.intercept_, len(fitted.coef_))
    return LinearHead(
        scaling.centre.tolist(), scaling.scale.tolist(), clip, fitted.coef_.tolist(), intercept.tolist()
    )
