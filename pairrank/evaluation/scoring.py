"""One log loss, and differences that carry an interval: paired, and resampled by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from pairrank.data.battles import Winner
from pairrank.data.probabilities import SWAP, Labels, Proba, normalise

SMALLEST = np.finfo(np.float64).eps
"""Probabilities are clipped here, as scikit-learn and Kaggle do: one sure and wrong row costs 36, not infinity."""


def battle_losses(proba: NDArray[np.floating], winner: Labels) -> Proba:
    """(n,) natural-log losses of (n, 3) probabilities, renormalised once, in float64."""
    _check_rows(proba, winner)
    chosen = normalise(proba)[np.arange(len(winner)), winner]
    losses: Proba = -np.log(np.clip(chosen, SMALLEST, 1.0))
    return losses


def log_loss(proba: NDArray[np.floating], winner: Labels) -> float:
    """The mean natural-log loss over A, B and tie: the score of everything here."""
    return float(battle_losses(proba, winner).mean())


def accuracy(proba: NDArray[np.floating], winner: Labels) -> float:
    """The share of battles whose most probable outcome came true (the first of A, B, tie where they are equal)."""
    _check_rows(proba, winner)
    return float((np.argmax(proba, axis=1) == winner).mean())


def expected_calibration_error(proba: NDArray[np.floating], winner: Labels, bins: int = 15) -> float:
    """Mean |accuracy - confidence| of the top label over `bins` bins of equal mass, weighted by their size.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015), with
    equal-mass bins as in Nguyen and O'Connor (2015). Battles of equal confidence share a bin, so that the order of
    the battles does not matter and a constant prediction has one bin.
    """
    _check_rows(proba, winner)
    confidence = normalise(proba).max(axis=1)
    hit = np.argmax(proba, axis=1) == winner
    rank = np.searchsorted(np.sort(confidence), confidence)
    gaps = np.bincount(rank * bins // len(winner), hit - confidence)
    return float(np.abs(gaps).sum() / len(winner))


@dataclass(frozen=True)
class Bin:
    """Outcomes that were given about the same probability."""

    said: float
    """Their mean probability."""
    came: float
    """The share of them that came true."""
    count: int
    """How many: each battle has three outcomes."""


def reliability(proba: NDArray[np.floating], winner: Labels, bins: int = 20) -> list[Bin]:
    """Said probabilities of all three outcomes against how often they came true, in bins of equal width.

    Bins that hold nothing are left out. (Murphy and Winkler, "Reliability of subjective probability forecasts of
    precipitation and temperature", Applied Statistics 26, 1977.)
    """
    _check_rows(proba, winner)
    said = normalise(proba).ravel()
    came = np.eye(len(Winner))[winner].ravel()
    place = np.minimum((said * bins).astype(int), bins - 1)
    return [
        Bin(float(said[place == i].mean()), float(came[place == i].mean()), int((place == i).sum()))
        for i in np.unique(place)
    ]


def confusion(proba: NDArray[np.floating], winner: Labels) -> NDArray[np.int64]:
    """(3, 3) battles: row the winner, column the most probable outcome (the first of A, B, tie where equal)."""
    _check_rows(proba, winner)
    pairs = winner * len(Winner) + np.argmax(proba, axis=1)
    return np.bincount(pairs, minlength=len(Winner) ** 2).reshape(len(Winner), len(Winner))


def swap_gap(straight: NDArray[np.floating], swapped: NDArray[np.floating]) -> float:
    """The mean largest difference between a battle's prediction and that of its swapped twin, read back."""
    return float(np.abs(np.asarray(straight) - _read_back(straight, swapped)).max(axis=1).mean())


def flip_rate(straight: NDArray[np.floating], swapped: NDArray[np.floating]) -> float:
    """The share of battles whose likeliest outcome is another one for their swapped twin, read back."""
    back = _read_back(straight, swapped)
    return float((np.argmax(straight, axis=1) != back.argmax(axis=1)).mean())


@dataclass(frozen=True)
class Difference:
    """A mean difference of two paired losses; below 0 the first of them is better."""

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
    """(draws,) means of `values` when whole groups (prompts) are drawn with replacement.

    Battles of one prompt are no independent evidence, so the prompt is what is drawn. A mean is the ratio of the
    drawn groups' summed values to their summed sizes (Efron and Tibshirani 1993, section 8.3 and chapter 10).
    """
    exact = np.asarray(values, dtype=np.float64)
    # In sorted order, so that the order of the battles does not matter. (A numpy array of texts would give each of
    # 57,477 prompts the room of the longest.)
    number = {group: i for i, group in enumerate(sorted(set(groups)))}
    member = np.array([number[group] for group in groups], dtype=np.int64)
    sums, sizes = np.bincount(member, exact), np.bincount(member).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    # In blocks, so that 57,477 battles need megabytes and not the gigabytes of a (draws, groups) table.
    block = max(1, 2_000_000 // len(sums))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, len(sums), (size, len(sums)))
        means[start : start + size] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def standard_error(losses: npt.ArrayLike, groups: Sequence[str], seed: int = 0) -> float:
    """The standard error of a mean loss over which prompts were drawn."""
    return float(bootstrap_means(losses, groups, draws=2_000, seed=seed).std(ddof=1))


@dataclass(frozen=True)
class Mean:
    """A mean over battles with its 95 % interval, which covers which prompts were drawn."""

    mean: float
    low: float
    high: float
    battles: int


def clustered_mean(values: npt.ArrayLike, groups: NDArray[Any] | Sequence[str]) -> Mean:
    """The mean of `values` and 1.96 standard errors to both sides, errors summed within groups (prompts) first.

    The sandwich estimator for clusters (Liang and Zeger 1986), with G / (G - 1) for G groups: what the bootstrap of
    `bootstrap_means` tends to, without its draws. Of one group nothing is known: an infinite interval.
    """
    exact = np.asarray(values, dtype=np.float64)
    mean = float(exact.mean())
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(member, exact - mean)
    count = len(sums)
    error = float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(exact)) if count > 1 else float("inf")
    return Mean(mean, mean - 1.96 * error, mean + 1.96 * error, len(exact))


def wilson(count: npt.ArrayLike, total: npt.ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % interval of a share, of independent battles (Wilson, JASA 22, 1927, formula 1)."""
    n, z = np.asarray(total, dtype=np.float64), 1.96
    share, scale = np.asarray(count, dtype=np.float64) / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    reach = z / scale * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray(centre - reach), np.asarray(centre + reach)


def paired_difference(
    losses: npt.ArrayLike, reference: npt.ArrayLike, groups: Sequence[str], seed: int = 0
) -> Difference:
    """The mean difference of two losses of the same battles with its 95 % percentile-bootstrap interval."""
    difference = np.asarray(losses, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    low, high = np.quantile(bootstrap_means(difference, groups, seed=seed), [0.025, 0.975])
    return Difference(float(difference.mean()), float(low), float(high))


def _read_back(straight: NDArray[np.floating], swapped: NDArray[np.floating]) -> NDArray[np.floating]:
    """Predictions for swapped battles as predictions for the battles; ValueError if they are of others."""
    if np.shape(straight) != np.shape(swapped):
        raise ValueError(f"{np.shape(straight)} and {np.shape(swapped)} probabilities are not of the same battles")
    return np.asarray(swapped)[:, SWAP]


def _check_rows(proba: NDArray[np.floating], winner: Labels) -> None:
    """Raise ValueError unless there is one row of three probabilities for each of at least one winner."""
    if np.shape(proba) != (len(winner), len(Winner)) or not len(winner):
        raise ValueError(
            f"{np.shape(proba)} probabilities for {len(winner)} winners: expected {len(Winner)} for each"
        )
