"""Penalised linear models of a tie (even inputs) and of a winner (odd ones), and how both make three outcomes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, Winner
from pairrank.data.probabilities import FloatArray, Labels


@dataclass(frozen=True)
class Line:
    """A fitted linear model of p features: k logits of clipped, standardised inputs."""

    centre: list[float]
    """(p) subtracted; 0 for an odd feature, whose sign must survive."""
    scale: list[float]
    """(p) divided by."""
    clip: float
    """The largest absolute value after that."""
    weights: list[list[float]]
    """(k, p)."""
    intercept: list[float]
    """(k)."""

    @property
    def size(self) -> int:
        """How many numbers were fitted to winners."""
        return sum(map(len, self.weights)) + sum(value != 0 for value in self.intercept)

    def standardise(self, x: FloatArray) -> FloatArray:
        """(n, p) features on one scale."""
        scaled: FloatArray = np.clip((x - np.array(self.centre)) / np.array(self.scale), -self.clip, self.clip)
        return scaled

    def scores(self, x: FloatArray) -> FloatArray:
        """(n, k) logits. Not a matrix product, whose last digits depend on how many rows there are."""
        scaled = self.standardise(x)
        rows = zip(self.weights, self.intercept, strict=True)
        return np.stack([(scaled * np.array(row)).sum(axis=1) + bias for row, bias in rows], axis=1)


class Task(NamedTuple):
    """What a head learns: n rows of p inputs, their classes, and how much each counts."""

    x: FloatArray
    """(n, p)."""
    target: Labels
    """(n)."""
    weight: FloatArray
    """(n)."""


def complete(task: Task, classes: int) -> Task:
    """The same rows, and one row of average features for every class that has none, so that all are learned."""
    x, target, weight = task
    missing = np.setdiff1d(np.arange(classes), target)
    average = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
    rows = np.vstack([x, np.tile(average, (len(missing), 1))])
    return Task(rows, np.concatenate([target, missing]), np.concatenate([weight, np.ones(len(missing))]))


def tie_task(even: FloatArray, battles: Battles) -> Task:
    """Inputs and classes of a tie: all battles."""
    return complete(Task(even, (battles.labels == Winner.TIE).astype(np.int64), battles.weights), 2)


def margin_task(straight: FloatArray, swapped: FloatArray, battles: Battles) -> Task:
    """Inputs and classes of a winner: the decided battles in both orders."""
    decided = np.tile(battles.labels != Winner.TIE, 2)
    first = np.concatenate([battles.labels == Winner.A, battles.labels == Winner.B]).astype(np.int64)
    x, weight = np.vstack([straight, swapped]), np.tile(battles.weights, 2)
    return complete(Task(x[decided], first[decided], weight[decided]), 2)


def outcome_task(straight: FloatArray, swapped: FloatArray, battles: Battles) -> Task:
    """Inputs and classes of all three outcomes: all battles in both orders."""
    target = np.concatenate([battles.labels, battles.swap().labels])
    return complete(Task(np.vstack([straight, swapped]), target, np.tile(battles.weights, 2)), 3)


def fit_line(task: Task, penalty: float, clip: float, odd: bool, widths: FloatArray | None = None) -> Line:
    """A ridge-penalised logistic model (multinomial for three classes); an `odd` one has no intercept.

    `widths` (p) says how many columns make up the block that a column belongs to: a vector of many columns is then
    penalised as if it were one, and does not drown a lone column such as a length.
    """
    x, target, weight = task
    # Odd rows come in both orders, so their mean is 0 but for rounding, which must not remain.
    centre = np.zeros(x.shape[1]) if odd else np.average(x, axis=0, weights=weight)
    scale = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weight))
    # A constant feature says nothing; dividing by its rounding error would make it say something.
    scale[scale < 1e-9] = 1.0
    if widths is not None:
        scale *= np.sqrt(widths)
    plain = Line(centre.tolist(), scale.tolist(), clip, [], [])
    fitted = LogisticRegression(C=1 / penalty, fit_intercept=not odd, max_iter=5_000)
    fitted.fit(plain.standardise(x), target, sample_weight=weight)
    intercept = np.broadcast_to(fitted.intercept_, len(fitted.coef_))
    return Line(plain.centre, plain.scale, clip, fitted.coef_.tolist(), intercept.tolist())
