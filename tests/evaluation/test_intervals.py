"""Intervals have the coverage and the width that statistics gives, and do not depend on the order of battles."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from pairrank.evaluation.intervals import bootstrap_means, clustered_mean, paired_difference, standard_error, wilson


def grouped(sizes: np.ndarray) -> list[str]:
    return [f"prompt {i}" for i, size in enumerate(sizes) for _ in range(size)]


def test_the_bootstrap_interval_covers_the_true_mean_in_about_95_percent_of_trials():
    """200 simulated data sets of 120 prompts; the differences of a prompt share a common part, true mean .05."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 5, 120)
        values = 0.05 + np.repeat(rng.normal(0, 0.3, 120), sizes) + rng.normal(0, 0.2, sizes.sum())
        low, high = np.quantile(bootstrap_means(values, grouped(sizes), draws=500, seed=seed), [0.025, 0.975])
        covered += bool(low <= 0.05 <= high)
    assert 180 <= covered <= 198


def test_standard_error_without_repeated_prompts_is_the_analytic_one():
    """s / sqrt(n); the bootstrap's own noise is about 1 / sqrt(2 * 2000) = 1.6 %, so 6 % is generous."""
    values = np.random.default_rng(0).gamma(2, 1, 900)
    analytic = values.std(ddof=1) / math.sqrt(900)
    assert standard_error(values, [str(i) for i in range(900)]) == pytest.approx(analytic, rel=0.06)


def test_standard_error_over_prompts_is_the_analytic_one_of_a_ratio():
    """sqrt(sum over prompts of (sum of residuals)^2) / n (Cochran 1977, section 2.11), as for clustered errors."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 6, 600)
    values = np.repeat(rng.normal(1, 1, 600), sizes) + rng.normal(0, 0.1, sizes.sum())
    residuals = np.add.reduceat(values - values.mean(), np.r_[0, sizes.cumsum()[:-1]])
    analytic = math.sqrt((residuals**2).sum()) / len(values)
    assert standard_error(values, grouped(sizes)) == pytest.approx(analytic, rel=0.06)


def test_repeating_every_battle_of_a_prompt_does_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    losses, reference = rng.random(300), rng.random(300)
    groups = [str(i) for i in range(300)]
    once = paired_difference(losses, reference, groups)
    thrice = paired_difference(np.repeat(losses, 3), np.repeat(reference, 3), np.repeat(groups, 3).tolist())
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=1e-9)
    assert thrice.mean == pytest.approx(once.mean)
    # If every battle were drawn separately, the interval would shrink by sqrt(3).
    alone = paired_difference(np.repeat(losses, 3), np.repeat(reference, 3), [str(i) for i in range(900)])
    assert alone.high - alone.low < 0.7 * (once.high - once.low)


def test_the_difference_is_paired_and_has_a_normal_interval_in_large_samples():
    """Losses that share their noise differ by N(.01, .05²): the interval is .01 ± 1.96 * .05 / sqrt(2000)."""
    rng = np.random.default_rng(3)
    reference = rng.gamma(2, 1, 2000)
    gain = rng.normal(0.01, 0.05, 2000)
    found = paired_difference(reference + gain, reference, [str(i) for i in range(2000)])
    half = NormalDist().inv_cdf(0.975) * gain.std() / math.sqrt(2000)
    assert found.mean == pytest.approx(gain.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.1 * half)


def test_a_difference_below_zero_means_that_the_first_is_better():
    found = paired_difference([0.1, 0.2, 0.3], [1.1, 1.2, 1.3], ["a", "b", "c"])
    assert (found.mean, found.low, found.high) == pytest.approx((-1, -1, -1))


def test_the_interval_depends_on_the_seed_and_not_on_the_order_of_the_battles():
    rng = np.random.default_rng(0)
    losses, reference, order = rng.random(90), rng.random(90), rng.permutation(90)
    groups = np.array([f"prompt {i % 40}" for i in range(90)])
    first = paired_difference(losses, reference, groups.tolist(), seed=4)
    turned = paired_difference(losses[order], reference[order], groups[order].tolist(), seed=4)
    assert (turned.low, turned.high) == pytest.approx((first.low, first.high), abs=1e-12)
    assert paired_difference(losses, reference, groups.tolist(), seed=5).low != first.low


def test_bootstrap_means_draws_every_mean_although_it_works_in_blocks():
    """5,000 groups of equal size make blocks of 400 draws: 1,001 draws fill two and begin a third."""
    means = bootstrap_means(np.random.default_rng(0).normal(3, 1, 5000), [str(i) for i in range(5000)], draws=1001)
    assert means.shape == (1001,)
    assert np.abs(means - 3).max() < 0.1


def test_bootstrap_means_needs_little_memory_for_one_very_long_prompt():
    # As a numpy array of texts these keys would need 2,000 times 4 MB.
    groups = [*(str(i) for i in range(1999)), "x" * 1_000_000]
    assert bootstrap_means(np.ones(2000), groups, draws=3).tolist() == [1, 1, 1]


def test_bootstrap_means_refuses_a_value_without_a_group():
    with pytest.raises(ValueError, match="length"):
        bootstrap_means([1.0, 2.0], ["a"])


def test_a_clustered_mean_of_a_hand_worked_example():
    """Values 1, 3 (prompt x) and 2 (prompt y): mean 2, sums of deviations 0 and 0: an error of 0.

    With 3, 3 and 0: mean 2, sums 2 and -2, so sqrt((4 + 4) * 2 / 1) / 3 = 4 / 3.
    """
    assert clustered_mean([1, 3, 2], ["x", "x", "y"]).high == pytest.approx(2.0)
    found = clustered_mean([3, 3, 0], ["x", "x", "y"])
    assert (found.mean, found.battles) == (pytest.approx(2.0), 3)
    assert found.high - found.mean == found.mean - found.low == pytest.approx(1.96 * 4 / 3)


def test_clustered_mean_without_repeated_prompts_has_the_usual_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    found = clustered_mean(values, [str(i) for i in range(50)])
    assert found.high - found.mean == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(50))


def test_clustered_mean_agrees_with_the_bootstrap_over_prompts():
    rng = np.random.default_rng(1)
    groups = [str(i) for i in rng.integers(0, 400, 1_000)]
    values = rng.normal(size=1_000) + np.array([int(group) % 3 for group in groups])
    found = clustered_mean(values, groups)
    assert (found.high - found.low) / 3.92 == pytest.approx(standard_error(values, groups), rel=0.06)


def test_wilsons_interval_of_a_hand_worked_example():
    """8 of 10: (.8 + .19208 ± 1.96 sqrt(.016 + .009604)) / 1.38416 = .7167 ± .2266 (Wilson 1927)."""
    low, high = wilson(8, 10)
    assert (float(low), float(high)) == (pytest.approx(0.4901, abs=2e-4), pytest.approx(0.9433, abs=2e-4))
    assert wilson(0, 5)[0] == pytest.approx(0.0, abs=1e-12)


def test_clustered_mean_of_one_prompt_has_an_infinite_interval():
    assert clustered_mean([1.0, 2.0], ["x", "x"]).high == math.inf
