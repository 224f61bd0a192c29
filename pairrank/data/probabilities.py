"""Arithmetic on the probabilities of three outcomes: A wins, B wins, tie."""

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
"""Numbers of any shape in double precision."""

Labels = npt.NDArray[np.int64]
"""(n,) class indices, which are `Winner` values for battles."""

Proba = npt.NDArray[np.float64]
"""(..., 3) probabilities in the columns A, B, tie; every row sums to 1."""

SWAP = [1, 0, 2]
"""Columns B, A, tie: indexing the last axis with it exchanges the two sides."""

SMALLEST = 1e-15
"""Probabilities are clipped to at least this value before their logarithm is taken."""


def normalise(proba: npt.ArrayLike) -> Proba:
    """Return (n, 3) probabilities in float64, each row divided by its sum.

    Raises ValueError if the sum of a row is zero, negative, infinite or NaN.
    """
    exact = np.asarray(proba, dtype=np.float64)
    total: Proba = exact.sum(axis=1, keepdims=True)
    if not (np.isfinite(total) & (total > 0)).all():
        raise ValueError("cannot normalise: the sum of a row is zero, negative, infinite or NaN")
    return exact / total


def softmax(logits: npt.ArrayLike) -> Proba:
    """Return the (n, 3) probabilities of (n, 3) logits."""
    proba: Proba = special.softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return proba


def log_softmax(logits: npt.ArrayLike) -> FloatArray:
    """Return the (n, k) log-probabilities of (n, k) logits."""
    logs: FloatArray = special.log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return logs


def log_outcomes(tie: FloatArray, margin: FloatArray) -> FloatArray:
    """Return (n, 3) log-probabilities of A, B and tie from two binary logits.

    `tie` (n,) is the logit of a tie among all battles, `margin` (n,) the logit of A among decided battles.
    """
    decided = special.log_expit(-tie)
    logs = [decided + special.log_expit(margin), decided + special.log_expit(-margin), special.log_expit(tie)]
    return np.stack(logs, axis=1)


def from_logs(logs: FloatArray) -> Proba:
    """Return the (n, 3) probabilities of (n, 3) logarithms, each row normalised."""
    return normalise(np.exp(logs))


def margin_and_tie(proba: Proba) -> tuple[FloatArray, FloatArray]:
    """Return margin m and tie logit t of probabilities (..., 3), which are the softmax of (m, -m, t).

    In Davidson's model of ties, 2 m is the difference of the two log strengths and t the logarithm of the tie
    parameter nu (Davidson, "On extending the Bradley-Terry model to accommodate ties", JASA 65, 1970).
    """
    a, b, tie = np.moveaxis(np.log(np.clip(proba, SMALLEST, None)), -1, 0)
    return (a - b) / 2, tie - (a + b) / 2


def average_orders(straight: Proba, swapped: Proba) -> Proba:
    """Return the geometric mean of predictions for battles and for the same battles with A and B exchanged.

    `straight` and `swapped` are (n, 3); `swapped` has its columns in the order of the swapped battles. The result
    does not depend on which answer is called A.
    """
    return normalise(np.sqrt(straight * swapped[:, SWAP]))
