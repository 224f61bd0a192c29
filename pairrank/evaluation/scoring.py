"""One definition of the log loss, and paired differences with an interval from a bootstrap over prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from pairrank.data.battles import Winner
from pairrank.data.probabilities import SWAP, Labels, Proba, normalise

MIN_PROBABILITY = np.finfo(np.float64).eps
"""Probabilities are clipped to this from below, as in scikit-learn and on Kaggle.

A row that gives the observed outcome no probability then costs 36 nats instead of infinity.
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


@dataclass(frozen=True)
class Difference:
    """The mean difference of paired losses; below 0 the first of the two models is better."""

    mean: float
    """Mean of loss minus reference loss, in nats."""
    low: float
    """2.5 % quantile of the bootstrap."""
    high: float
    """97.5 % quantile of the bootstrap."""

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def bootstrap_means(
    values: npt.ArrayLike, groups: Sequence[str], draws: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """Return (draws,) means of the (n,) `values` of bootstrap samples that draw whole groups (prompts).

    Battles of one prompt are not independent, so prompts are drawn, with replacement. The mean of a sample is the
    sum of the values of the drawn groups, divided by the sum of their sizes.
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 8.3 and chapter 10.
    """
    exact = np.asarray(values, dtype=np.float64)
    # Groups are sorted, so that the order of the battles does not matter. `np.unique` is not used here: a numpy
    # array of texts would give each of 57,477 prompts the memory of the longest.
    number = {group: i for i, group in enumerate(sorted(set(groups)))}
    group_index = np.array([number[group] for group in groups], dtype=np.int64)
    sums, sizes = np.bincount(group_index, exact), np.bincount(group_index).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    # In blocks of megabytes: a whole (draws, groups) table of 57,477 battles would need gigabytes.
    block = max(1, 2_000_000 // len(sums))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, len(sums), (size, len(sums)))
        means[start : start + size] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def standard_error(losses: npt.ArrayLike, groups: Sequence[str], seed: int = 0) -> float:
    """Return the standard error of the mean of (n,) losses, from 2,000 bootstrap samples of groups (prompts)."""
    return float(bootstrap_means(losses, groups, draws=2_000, seed=seed).std(ddof=1))


@dataclass(frozen=True)
class Mean:
    """A mean over battles with its 95 % interval, which accounts for the sampling of prompts."""

    mean: float
    low: float
    high: float
    battles: int


def clustered_mean(values: npt.ArrayLike, groups: NDArray[Any] | Sequence[str]) -> Mean:
    """Return the mean of (n,) `values` with an interval of 1.96 cluster-robust standard errors to both sides.

    This is the sandwich estimator for clusters, with the factor G / (G - 1) for G groups (prompts). The standard
    error of `bootstrap_means` tends to the same value. The interval is infinite if there is only one group.
    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986).
    """
    exact = np.asarray(values, dtype=np.float64)
    mean = float(exact.mean())
    _, group_index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(group_index, exact - mean)
    count = len(sums)
    error = float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(exact)) if count > 1 else float("inf")
    return Mean(mean, mean - 1.96 * error, mean + 1.96 * error, len(exact))


def wilson(count: npt.ArrayLike, total: npt.ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper ends of the 95 % interval of count / total, for independent battles.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927),
    formula 1.
    """
    n, z = np.asarray(total, dtype=np.float64), 1.96
    share, scale = np.asarray(count, dtype=np.float64) / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray(centre - half), np.asarray(centre + half)


def paired_difference(
    losses: npt.ArrayLike, reference: npt.ArrayLike, groups: Sequence[str], seed: int = 0
) -> Difference:
    """Return the mean of (n,) losses minus (n,) reference losses of the same battles, with its 95 % interval.

    The interval is that of the percentile bootstrap over groups (prompts); see `bootstrap_means`.
    """
    difference = np.asarray(losses, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    low, high = np.quantile(bootstrap_means(difference, groups, seed=seed), [0.025, 0.975])
    return Difference(float(difference.mean()), float(low), float(high))


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
