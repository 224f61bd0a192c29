"""Standard errors and intervals of means and differences, for battles that share prompts."""

from collections.abc import Iterator, Sequence
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
    """Return (draws,) means of (n,) `values`, or (draws, k) of (n, k), in bootstrap samples of groups (prompts).

    Battles of one prompt are not independent, so whole prompts are drawn, with replacement. The mean of a sample is
    the sum of the values of the drawn groups, divided by the sum of their sizes. All columns have the same samples,
    so their means may be subtracted from each other.

    A column leaves out the battles where it is NaN. Its mean is NaN for a sample that has none of its battles.
    Raises ValueError unless each value has a group.
    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 8.3 and chapter 10.
    """
    exact = np.asarray(values, dtype=np.float64)
    if len(exact) != len(groups):
        raise ValueError(f"{len(exact)} values and {len(groups)} groups: expected the same length")
    table = exact.reshape(len(exact), -1)
    group_index = _index_of_groups(groups)
    is_counted = ~np.isnan(table)
    sums = _sum_groups(np.where(is_counted, table, 0.0), group_index)
    # Few sets of battles occur: all of them, or those of some folds.
    sets, set_of_column = np.unique(is_counted, axis=1, return_inverse=True)
    sizes = _sum_groups(sets.astype(np.float64), group_index)
    means = np.full((draws, table.shape[1]), np.nan)
    for start, counts in _bootstrap_samples(len(sums), draws, seed):
        size = (counts @ sizes)[:, set_of_column.ravel()]
        np.divide(counts @ sums, size, out=means[start : start + len(counts)], where=size > 0)
    return means.reshape(draws, *exact.shape[1:])


def _bootstrap_samples(groups: int, draws: int, seed: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the number of the first sample of a block, and (size, groups) how often each sample has each group."""
    rng = np.random.default_rng(seed)
    # In blocks of megabytes: a whole (draws, groups) table of 57,477 battles would need gigabytes.
    block = max(1, 1_000_000 // groups)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = rng.integers(0, groups, (size, groups)) + groups * np.arange(size)[:, None]
        yield start, np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)


def _sum_groups(values: NDArray[np.float64], group_index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (groups, k) sums of the (n, k) values of each group."""
    order = np.argsort(group_index, kind="stable")
    starts = np.flatnonzero(np.diff(group_index[order], prepend=-1))
    sums: NDArray[np.float64] = np.add.reduceat(values[order], starts, axis=0)
    return sums


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
