"""Ranks with intervals, and which rows of a table differ, corrected for the number of comparisons.

All numbers are taken from bootstrap samples that the rows share (`intervals.bootstrap_means`), so that the
correlation of rows that err on the same battles narrows the intervals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.05
"""Probability of an error that the intervals allow."""
POWER = 0.8
"""Probability with which the stated number of battles would separate two rows."""
SMALLEST_ERROR = 1e-10
"""Standard error in nats up to which two rows count as equal: the rounding of a sum is not a difference."""


@dataclass(frozen=True)
class PairDifference:
    """The difference of two rows, corrected for the number of all pairs."""

    better: str
    """Label of the row with the lower log loss."""
    worse: str
    difference: float
    """Log loss of `worse` minus that of `better`, in nats."""
    low: float
    """Lower end of the 95 % interval. All pairs of the table are inside their intervals with 95 % probability."""
    high: float
    is_significant: bool
    """Whether the interval excludes 0."""
    battles_needed: int | None
    """Battles at which this comparison would be significant with a probability of 80 %, if the difference is the
    observed one, with the same number of battles per prompt. None if it is significant, or if there is no
    difference."""


@dataclass(frozen=True, eq=False)
class Order:
    """What the battles say about the order of r rows."""

    ranks: dict[str, tuple[int, int]]
    """Label -> the lowest and the highest rank that the row may have; see `order_rows`."""
    critical_value: float | None
    """Standard errors by which two rows must differ, corrected for the number of all pairs; None without pairs."""
    pairs: tuple[PairDifference, ...]
    """All pairs of rows."""


def order_rows(labels: Sequence[str], means: Floats, samples: Floats, battles: int) -> Order:
    """Return the ranks and differences of r rows, which have predicted the same battles.

    `means` are the (r,) log losses on these battles, and `samples` the (s, r) ones of bootstrap samples.

    The rank of a row is 1 plus the number of rows that are truly better. Its interval contains the rank with a
    probability of at least 95 %, row by row: the lower end is 1 plus the number of rows that are significantly
    better, the upper end r minus the number of those that are significantly worse. Both are counted by a step-down
    max-t test over the comparisons of this row, at 2.5 % each. Source: Mogstad, Romano, Shaikh and Wilhelm,
    "Inference for ranks with applications to mobility across neighbourhoods and academic achievement across
    countries", Review of Economic Studies 91 (2024), section 3; Romano and Wolf, "Exact and approximate stepdown
    methods for multiple hypothesis testing", JASA 100 (2005).

    The intervals of the pairs hold for all pairs at once. Their half width is the 95 % quantile, over the samples,
    of the largest studentised error of any pair (single-step max-t), times the standard error of the pair.
    """
    largest = np.zeros(len(samples))
    ranks, errors = {}, []
    for row, label in enumerate(labels):
        scores, noise, error = _studentise(row, means, samples)
        ranks[label] = (1 + _count_better(scores, noise), len(labels) - _count_better(-scores, -noise))
        largest = np.maximum(largest, np.abs(noise).max(axis=1))
        errors.append(error)
    critical = float(np.quantile(largest, 1 - LEVEL))
    pairs = [
        _pair((labels[i], labels[j]), means[j] - means[i], float(errors[i][j]), critical, battles)
        for i, j in combinations(range(len(labels)), 2)
    ]
    return Order(ranks, critical if pairs else None, tuple(pairs))


def _studentise(row: int, means: Floats, samples: Floats) -> tuple[Floats, Floats, Floats]:
    """Compare a row with all r rows.

    Returns (r,) by how many standard errors each row is better, the (s, r) errors of these numbers in the samples,
    and the (r,) standard errors. Rows that do not vary against this one, such as itself, have zeros.
    """
    difference = means[row] - means
    noise = samples[:, [row]] - samples - difference
    error = np.asarray(noise.std(axis=0, ddof=1))
    scale = np.divide(1.0, error, out=np.zeros_like(error), where=error > SMALLEST_ERROR)
    return difference * scale, noise * scale, error


def _count_better(scores: Floats, noise: Floats) -> int:
    """Return how many of r rows are significantly better, by a step-down max-t test at half of `LEVEL`.

    `scores` are (r,) studentised differences, above 0 for a better row, and `noise` their (s, r) errors.
    """
    remaining = np.ones(len(scores), dtype=np.bool_)
    while True:
        limit = np.quantile(noise[:, remaining].max(axis=1), 1 - LEVEL / 2)
        # The row itself has a score of 0 and is never rejected, so some rows remain.
        better = remaining & (scores > max(limit, 0.0))
        if not better.any():
            return int((~remaining).sum())
        remaining &= ~better


def _pair(names: tuple[str, str], difference: float, error: float, critical: float, battles: int) -> PairDifference:
    """Return the difference of a pair of labels; `difference` is the second row's log loss minus the first's."""
    better, worse = names if difference >= 0 else names[::-1]
    size = abs(float(difference))
    is_significant = error > SMALLEST_ERROR and size > critical * error
    needed = None if is_significant else _battles_needed(size, error, critical, battles)
    return PairDifference(
        better, worse, size, size - critical * error, size + critical * error, is_significant, needed
    )


def _battles_needed(difference: float, error: float, critical: float, battles: int) -> int | None:
    """Return the battles at which a difference would be significant with a probability of `POWER`.

    The standard error falls with the square root of the number of battles; (critical value + z) of it must fit into
    the difference. None if there is no difference.
    """
    if error <= SMALLEST_ERROR or difference < SMALLEST_ERROR:
        return None
    errors_needed = critical + NormalDist().inv_cdf(POWER)
    return math.ceil(battles * (errors_needed * error / difference) ** 2)
