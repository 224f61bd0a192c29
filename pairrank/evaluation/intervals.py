"""Standard errors and intervals of means and differences, for battles that share prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray


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


def paired_difference(
    losses: npt.ArrayLike, reference: npt.ArrayLike, groups: Sequence[str], seed: int = 0
) -> Difference:
    """Return the mean of (n,) losses minus (n,) reference losses of the same battles, with its 95 % interval.

    The interval is that of the percentile bootstrap over groups (prompts); see `bootstrap_means`.
    """
    difference = np.asarray(losses, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    low, high = np.quantile(bootstrap_means(difference, groups, seed=seed), [0.025, 0.975])
    return Difference(float(difference.mean()), float(low), float(high))


def bootstrap_means(
    values: npt.ArrayLike, groups: Sequence[str], draws: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """Return (draws,) means of the (n,) `values` of bootstrap samples that draw whole groups (prompts).

    Battles of one prompt are not independent, so prompts are drawn, with replacement. The mean of a sample is the
    sum of the values of the drawn groups, divided by the sum of their sizes.
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 8.3 and chapter 10.
    """
    exact = np.asarray(values, dtype=np.float64)
    group_index = _index_of_groups(groups)
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


def bootstrap_table(
    values: npt.ArrayLike, groups: Sequence[str], draws: int = 1_000, seed: int = 0
) -> NDArray[np.float64]:
    """Return (draws, m) means of the columns of (n, m) `values`; all columns share their samples.

    These are the samples of `bootstrap_means`. The difference of two columns of the result is a bootstrap of the
    paired difference.
    """
    exact = np.asarray(values, dtype=np.float64)
    group_index = _index_of_groups(groups)
    sums = np.stack([np.bincount(group_index, column) for column in exact.T], axis=1)
    count = len(sums)
    totals = np.column_stack([sums, np.bincount(group_index)])  # (groups, m + 1)
    rng = np.random.default_rng(seed)
    means = np.empty((draws, exact.shape[1]))
    block = max(1, 2_000_000 // count)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)  # how often each is drawn
        summed = times @ totals
        means[start : start + size] = summed[:, :-1] / summed[:, -1:]
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
    """Return the mean of (n,) `values` with an interval of 1.96 cluster-robust standard errors on both sides.

    This is the sandwich estimator for clusters, with the factor G / (G - 1) for G groups (prompts). The standard
    error of `bootstrap_means` tends to the same value. The interval is infinite if there is only one group.
    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986).
    """
    exact = np.asarray(values, dtype=np.float64)
    mean = float(exact.mean())
    group_index = _index_of_groups(groups)
    sums = np.bincount(group_index, exact - mean)
    count = len(sums)
    error = float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(exact)) if count > 1 else float("inf")
    return Mean(mean, mean - 1.96 * error, mean + 1.96 * error, len(exact))


def _index_of_groups(groups: NDArray[Any] | Sequence[str]) -> NDArray[np.int64]:
    """Return (n,) the number of each battle's group, from 0, in the order of the sorted groups.

    The order of the battles does not matter. `np.unique` is not used, because a numpy array of texts would give
    each of 57,477 prompts the memory of the longest.
    """
    number = {group: i for i, group in enumerate(sorted(set(groups)))}
    return np.array([number[group] for group in groups], dtype=np.int64)


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
