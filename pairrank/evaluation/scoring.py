"""Scores of predictions: one definition of the log loss, accuracy, calibration, and asymmetry under a swap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairrank.data.battles import Winner
from pairrank.data.probabilities import SWAP, Labels, Proba, normalise

MIN_PROBABILITY = np.finfo(np.float64).eps
"""Probabilities are clipped to this from below, as in scikit-learn and on Kaggle.

A row that gives the observed outcome the probability 0 then has a loss of 36 nats instead of infinity.
"""


def battle_losses(proba: NDArray[np.floating], winner: Labels) -> Proba:
    """Return the (n,) losses in nats, float64, of (n, 3) probabilities, which are renormalised once.

    Raises ValueError unless `proba` has one row per winner, at least one row, and sums that can be normalised.
    """
    _check_rows(proba, winner)
    chosen = normalise(proba)[np.arange(len(winner)), winner]
    losses: Proba = -np.log(np.clip(chosen, MIN_PROBABILITY, 1.0))
    return losses


def log_loss(proba: NDArray[np.floating], winner: Labels) -> float:
    """Return the mean log loss in nats over the outcomes A, B and tie: the score by which models are compared."""
    return float(battle_losses(proba, winner).mean())


def accuracy(proba: NDArray[np.floating], winner: Labels) -> float:
    """Return the share of battles whose most probable outcome was observed.

    Where outcomes are equally probable, the first of A, B, tie is taken.
    """
    _check_rows(proba, winner)
    return float((np.argmax(proba, axis=1) == winner).mean())


def expected_calibration_error(proba: NDArray[np.floating], winner: Labels, bins: int = 15) -> float:
    """Return the mean |accuracy - confidence| of the most probable outcome, over `bins` bins weighted by size.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015),
    with bins of equal mass as in Nguyen and O'Connor (2015). Battles of equal confidence share a bin. Therefore the
    order of the battles does not matter, and a constant prediction has one bin.
    """
    _check_rows(proba, winner)
    confidence = normalise(proba).max(axis=1)
    hit = np.argmax(proba, axis=1) == winner
    rank = np.searchsorted(np.sort(confidence), confidence)
    gaps = np.bincount(rank * bins // len(winner), hit - confidence)
    return float(np.abs(gaps).sum() / len(winner))


def decided_log_loss(proba: NDArray[np.floating], winner: Labels) -> float | None:
    """Return the mean log loss in nats of A against B, over battles that are not ties; None if all are.

    P(A) / (P(A) + P(B)) is scored: the loss of reward models, which know no ties.
    """
    _check_rows(proba, winner)
    decided = winner != Winner.TIE
    pair = np.clip(normalise(proba)[decided, : Winner.TIE], MIN_PROBABILITY, None)
    if not decided.any():
        return None
    chosen = pair[np.arange(len(pair)), winner[decided]] / pair.sum(axis=1)
    return float(-np.log(chosen).mean())


def decided_accuracy(proba: NDArray[np.floating], winner: Labels) -> float | None:
    """Return the share of battles without ties in which the winner is the more probable side; None if all are ties.

    Where both sides are equally probable, half of the battle counts.
    """
    _check_rows(proba, winner)
    decided = winner != Winner.TIE
    if not decided.any():
        return None
    lead = (proba[decided, Winner.A] - proba[decided, Winner.B]) * np.where(winner[decided] == Winner.A, 1, -1)
    return float(((np.sign(lead) + 1) / 2).mean())


@dataclass(frozen=True)
class Bin:
    """Outcomes with about the same predicted probability."""

    predicted: float
    """Their mean predicted probability."""
    observed: float
    """The share of them that were observed."""
    count: int
    """The number of outcomes; each battle has three."""


def reliability(proba: NDArray[np.floating], winner: Labels, bins: int = 20) -> list[Bin]:
    """Return predicted probabilities and observed shares of all three outcomes, in bins of equal width.

    Empty bins are omitted. Source: Murphy and Winkler, "Reliability of subjective probability forecasts of
    precipitation and temperature", Applied Statistics 26 (1977).
    """
    _check_rows(proba, winner)
    predicted = normalise(proba).ravel()
    observed = np.eye(len(Winner))[winner].ravel()
    index = np.minimum((predicted * bins).astype(int), bins - 1)
    return [
        Bin(float(predicted[index == i].mean()), float(observed[index == i].mean()), int((index == i).sum()))
        for i in np.unique(index)
    ]


def confusion(proba: NDArray[np.floating], winner: Labels) -> NDArray[np.int64]:
    """Return (3, 3) counts of battles: the row is the observed outcome, the column the most probable one.

    Where outcomes are equally probable, the first of A, B, tie is taken.
    """
    _check_rows(proba, winner)
    pairs = winner * len(Winner) + np.argmax(proba, axis=1)
    return np.bincount(pairs, minlength=len(Winner) ** 2).reshape(len(Winner), len(Winner))


def swap_gap(straight: NDArray[np.floating], swapped: NDArray[np.floating]) -> float:
    """Return how far a prediction moves when A and B change places: the mean over battles of the largest change.

    `straight` and `swapped` are (n, 3) predictions of the same battles before and after `Battles.swap`.
    """
    return float(np.abs(np.asarray(straight) - _swap_back(straight, swapped)).max(axis=1).mean())


def flip_rate(straight: NDArray[np.floating], swapped: NDArray[np.floating]) -> float:
    """Return the share of battles whose most probable outcome changes when A and B change places.

    `straight` and `swapped` are (n, 3) predictions of the same battles before and after `Battles.swap`.
    """
    back = _swap_back(straight, swapped)
    return float((np.argmax(straight, axis=1) != back.argmax(axis=1)).mean())


def _swap_back(straight: NDArray[np.floating], swapped: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return predictions of swapped battles with the columns of A and B exchanged; check the shape."""
    if np.shape(straight) != np.shape(swapped):
        raise ValueError(
            f"predictions before and after the swap have shapes {np.shape(straight)} and {np.shape(swapped)}: "
            "expected predictions of the same battles"
        )
    return np.asarray(swapped)[:, SWAP]


def _check_rows(proba: NDArray[np.floating], winner: Labels) -> None:
    """Raise ValueError unless `proba` has one row of three probabilities per winner, and at least one row."""
    if np.shape(proba) != (len(winner), len(Winner)) or not len(winner):
        raise ValueError(
            f"probabilities of shape {np.shape(proba)} for {len(winner)} winners: "
            f"expected one row of {len(Winner)} per winner, and at least one winner"
        )
