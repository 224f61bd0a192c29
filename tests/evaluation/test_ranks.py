"""Ranks and corrected differences: their error rates on simulated rows, and hand-worked cases."""

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest

from pairrank.evaluation.intervals import bootstrap_means
from pairrank.evaluation.ranks import Order, order_rows


def order_of(losses: np.ndarray, draws: int = 1_000, seed: int = 0) -> Order:
    """Order the columns of (n, r) losses of n battles with different prompts; the label of a row is its number."""
    samples = bootstrap_means(losses, [str(i) for i in range(len(losses))], draws, seed)
    return order_rows([str(i) for i in range(losses.shape[1])], losses.mean(axis=0), samples, len(losses))


def simulated(rng: np.random.Generator, means: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return losses of 200 battles; the rows share the difficulty of a battle and have noise of their own."""
    difficulty = 1 + rng.normal(0, 0.3, (200, 1))
    return difficulty + means + rng.normal(0, 1, (200, len(means))) * spread


def error_rates(spread: np.ndarray, repetitions: int) -> tuple[np.ndarray, float, float]:
    """Simulate rows whose order is known and whose differences are too small to be seen.

    Returns how often the interval of each row's rank has the true one, how often any pair is said to differ, and
    how often any is said to differ in the wrong direction.
    """
    rng = np.random.default_rng(7)
    means = 1e-7 * np.arange(len(spread))
    covered, any_pair, wrong = np.zeros(len(spread)), 0, 0
    for repetition in range(repetitions):
        order = order_of(simulated(rng, means, spread), seed=repetition)
        covered += [low <= row + 1 <= high for row, (low, high) in enumerate(order.ranks.values())]
        found = [pair for pair in order.pairs if pair.is_significant]
        any_pair += bool(found)
        wrong += any(int(pair.better) > int(pair.worse) for pair in found)
    return covered / repetitions, any_pair / repetitions, wrong / repetitions


@pytest.mark.slow
def test_ranks_cover_and_pairs_err_at_their_nominal_rates():
    """Row 3 of 7 is noisy, the others are nearly the same, so nothing but its one comparison can hide its rank.

    Its coverage is exactly nominal, 95 %, and that of the others is larger. 120 repetitions have a standard error
    of 2 percentage points; the log has the figures of 500.
    """
    spread = np.array([0.01, 0.01, 0.01, 0.3, 0.01, 0.01, 0.01])
    covered, any_pair, wrong = error_rates(spread, 120)
    assert 0.90 <= covered[3] <= 0.99
    assert covered.min() >= 0.90
    assert covered.mean() >= 0.95
    assert any_pair <= 0.11
    assert wrong <= 0.09


def test_rows_that_are_far_apart_have_exact_ranks_and_rows_that_are_not_share_them():
    """Two groups of three rows, a hundred standard errors apart; within a group there is nothing to be seen."""
    means = np.array([0, 0, 0, 1, 1, 1])
    order = order_of(simulated(np.random.default_rng(1), means, np.full(6, 0.1)))
    assert list(order.ranks.values()) == [(1, 3)] * 3 + [(4, 6)] * 3
    told = {(pair.better, pair.worse) for pair in order.pairs if pair.is_significant}
    assert told == {(a, b) for a in "012" for b in "345"}


def test_the_same_row_twice_never_differs_from_itself():
    losses = np.random.default_rng(2).gamma(2, 0.5, (300, 2))
    order = order_of(losses[:, [0, 0, 1]])
    assert order.ranks["0"] == order.ranks["1"]
    [pair] = [pair for pair in order.pairs if {pair.better, pair.worse} == {"0", "1"}]
    assert (pair.difference, pair.is_significant, pair.battles_needed) == (pytest.approx(0, abs=1e-12), False, None)


def test_the_critical_value_of_one_pair_is_that_of_a_normal_test_and_grows_with_the_number_of_pairs():
    """For r independent rows it is the 95 % quantile of their studentised range over sqrt(2): 3.17 for ten."""
    losses = np.random.default_rng(3).normal(1, 0.2, (1_000, 10))
    two, ten = order_of(losses[:, :2], 4_000), order_of(losses, 4_000)
    assert two.critical_value == pytest.approx(NormalDist().inv_cdf(0.975), abs=0.05)
    assert ten.critical_value == pytest.approx(4.474 / math.sqrt(2), abs=0.08)


def test_pairs_are_all_there_and_their_intervals_are_symmetric_around_the_paired_difference():
    losses = np.random.default_rng(4).gamma(2, 0.5, (400, 4))
    order = order_of(losses)
    pairs = {frozenset((pair.better, pair.worse)): pair for pair in order.pairs}
    for i, j in combinations(range(4), 2):
        pair = pairs[frozenset((str(i), str(j)))]
        gap = losses[:, int(pair.worse)] - losses[:, int(pair.better)]
        half = order.critical_value * gap.std(ddof=1) / math.sqrt(400)
        assert pair.difference == pytest.approx(gap.mean())
        assert pair.difference >= 0
        assert (pair.low, pair.high) == pytest.approx((gap.mean() - half, gap.mean() + half), abs=0.1 * half)


def test_the_battles_needed_separate_two_rows_in_four_of_five_simulated_trials():
    """The needed number is computed from a first sample, whose difference is set to its true value, .05."""
    rng = np.random.default_rng(5)
    first = rng.normal(0, 0.5, (200, 2))
    first += [0, 0.05] - first.mean(axis=0)
    [pair] = order_of(first, 4_000).pairs
    assert pair.battles_needed is not None
    spread = math.sqrt(((first[:, 1] - first[:, 0]).var(ddof=1)) / pair.battles_needed)
    found = rng.normal(0.05, spread, 4_000) > NormalDist().inv_cdf(0.975) * spread
    assert found.mean() == pytest.approx(0.80, abs=0.03)


def test_one_row_has_rank_one_and_no_pairs():
    order = order_of(np.random.default_rng(6).random((20, 1)))
    assert (order.ranks, order.pairs, order.critical_value) == ({"0": (1, 1)}, (), None)
