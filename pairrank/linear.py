"""Penalised linear models of a tie (even inputs) and of a winner (odd ones), and how both make three outcomes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from pairrank.battles import Winner

Columns = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


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

    def standardise(self, x: Columns) -> Columns:
        """(n, p) features on one scale."""
        scaled: Columns = np.clip((x - np.array(self.centre)) / np.array(self.scale), -self.clip, self.clip)
        return scaled

    def scores(self, x: Columns) -> Columns:
        """(n, k) logits. Not a matrix product, whose last digits depend on how many rows there are."""
        scaled = self.standardise(x)
        rows = zip(self.weights, self.intercept, strict=True)
        return np.stack([(scaled * np.array(row)).sum(axis=1) + bias for row, bias in rows], axis=1)


def complete(x: Columns, target: Labels, classes: int) -> tuple[Columns, Labels]:
    """The same rows, and one row of average features for every class that has none, so that all are learned."""
    missing = np.setdiff1d(np.arange(classes), target)
    average = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
    return np.vstack([x, np.tile(average, (len(missing), 1))]), np.concatenate([target, missing])


def tie_task(even: Columns, winner: Labels) -> tuple[Columns, Labels]:
    """Inputs and classes of a tie: all battles."""
    return complete(even, (winner == Winner.TIE).astype(np.int64), 2)


def margin_task(straight: Columns, swapped: Columns, winner: Labels) -> tuple[Columns, Labels]:
    """Inputs and classes of a winner: the decided battles in both orders."""
    decided = np.tile(winner != Winner.TIE, 2)
    first = np.concatenate([winner == Winner.A, winner == Winner.B]).astype(np.int64)
    return complete(np.vstack([straight, swapped])[decided], first[decided], 2)


def fit_line(
    x: Columns, target: Labels, penalty: float, clip: float, odd: bool, widths: Columns | None = None
) -> Line:
    """A ridge-penalised logistic model (multinomial for three classes); an `odd` one has no intercept.

    `widths` (p) says how many columns make up the block that a column belongs to: a vector of many columns is then
    penalised as if it were one, and does not drown a lone column such as a length.
    """
    # Odd rows come in both orders, so their mean is 0 but for rounding, which must not remain.
    centre = np.zeros(x.shape[1]) if odd else x.mean(axis=0)
    scale = np.sqrt(((x - centre) ** 2).mean(axis=0))
    # A constant feature says nothing; dividing by its rounding error would make it say something.
    scale[scale < 1e-9] = 1.0
    if widths is not None:
        scale *= np.sqrt(widths)
    plain = Line(centre.tolist(), scale.tolist(), clip, [], [])
    fitted = LogisticRegression(C=1 / penalty, fit_intercept=not odd, max_iter=5_000)
    fitted.fit(plain.standardise(x), target)
    intercept = np.broadcast_to(fitted.intercept_, len(fitted.coef_))
    return Line(plain.centre, plain.scale, clip, fitted.coef_.tolist(), intercept.tolist())


def log_outcomes(tie: Columns, margin: Columns) -> Columns:
    """(n, 3) log-probabilities of A, B, tie from the logits (n) of a tie, and of A where there is none."""
    decided = _log_sigmoid(-tie)
    return np.stack([decided + _log_sigmoid(margin), decided + _log_sigmoid(-margin), _log_sigmoid(tie)], axis=1)


def _log_sigmoid(logit: Columns) -> Columns:
    """log(1 / (1 + exp(-logit))) without overflow."""
    logs: Columns = -np.logaddexp(0, -logit)
    return logs
