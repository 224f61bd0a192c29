import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions
from pairrank.evaluation.scoring import (
    accuracy,
    battle_losses,
    bootstrap_means,
    clustered_mean,
    confusion,
    expected_calibration_error,
    flip_rate,
    log_loss,
    paired_difference,
    reliability,
    standard_error,
    swap_gap,
    wilson,
)

HAND = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])


def random_proba(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), n)


# Log loss


def test_log_loss_of_a_hand_worked_example():
    """-(ln .5 + ln .1 + ln .5) / 3 = (.693147 + 2.302585 + .693147) / 3 = 1.229626."""
    assert log_loss(HAND, np.array([0, 2, 2])) == pytest.approx(1.229626, abs=1e-6)
    assert battle_losses(HAND, np.array([0, 2, 2])) == pytest.approx([0.693147, 2.302585, 0.693147], abs=1e-6)


def test_log_loss_of_a_uniform_prediction_is_log_3():
    assert log_loss(np.full((9, 3), 1 / 3), np.arange(9) % 3) == pytest.approx(math.log(3), abs=1e-12)


@given(st.integers(1, 40), st.integers(0, 10**6), st.sets(st.integers(0, 2), min_size=1))
def test_log_loss_equals_scikit_learn_even_if_a_class_is_absent(n: int, seed: int, present: set[int]):
    proba = random_proba(n, seed)
    winner = np.random.default_rng(seed).choice(sorted(present), n)
    expected = metrics.log_loss(winner, proba, labels=[0, 1, 2])
    assert log_loss(proba, winner) == pytest.approx(expected, rel=1e-12)


def test_log_loss_of_float32_rows_is_computed_in_float64():
    """A certain and wrong row costs -ln(2.2e-16) = 36.04 in float64; scikit-learn gives 15.9 in float32."""
    sure = np.array([[1, 0, 0], [0.2, 0.3, 0.5]], dtype=np.float32)
    winner = np.array([1, 2])
    assert battle_losses(sure, winner)[0] == pytest.approx(36.0437, abs=1e-3)
    exact = sure.astype(np.float64) / sure.astype(np.float64).sum(axis=1, keepdims=True)
    assert log_loss(sure, winner) == pytest.approx(metrics.log_loss(winner, exact, labels=[0, 1, 2]), rel=1e-12)
    assert battle_losses(sure, winner).dtype == np.float64


def test_rows_are_divided_by_their_sum():
    """.6 / 1.2 = .5: a softmax instead would give e^.6 / (2 e^.3 + e^.6) = .403."""
    assert log_loss(np.array([[0.6, 0.3, 0.3]]), np.array([0])) == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 1, 0], [0, 2, 1]])
def test_columns_in_another_order_score_worse(order: list[int]):
    proba = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    winner = np.array([0, 1, 2])
    assert log_loss(proba, winner) == pytest.approx(-math.log(0.8))
    assert log_loss(proba[:, order], winner) > 1


@pytest.mark.parametrize("score", [log_loss, battle_losses, accuracy, expected_calibration_error])
@pytest.mark.parametrize(("rows", "winners"), [(3, 2), (2, 3), (3, 1), (1, 3), (0, 0)])
def test_scores_refuse_different_numbers_of_rows_and_winners(score, rows: int, winners: int):
    with pytest.raises(ValueError, match="winners"):
        score(random_proba(rows), np.zeros(winners, dtype=np.int64))


def test_log_loss_refuses_nan():
    with pytest.raises(ValueError, match="cannot normalise"):
        log_loss(np.array([[0.2, 0.3, 0.5], [np.nan, 0.5, 0.5]]), np.array([0, 1]))


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_log_loss_does_not_change_when_battles_and_predictions_are_swapped(n: int, seed: int):
    proba, winner = random_proba(n, seed), np.random.default_rng(seed).integers(0, 3, n)
    swapped = np.array([1, 0, 2])[winner]
    assert log_loss(proba[:, [1, 0, 2]], swapped) == pytest.approx(log_loss(proba, winner), rel=1e-12)


# Accuracy, calibration, swap gap


def test_accuracy_is_the_share_of_rows_whose_most_probable_outcome_was_observed():
    assert accuracy(HAND, np.array([0, 1, 0])) == pytest.approx(2 / 3)
    assert accuracy(np.full((1, 3), 1 / 3), np.array([0])) == 1.0


def plain_calibration_error(proba: np.ndarray, winner: np.ndarray, bins: int) -> float:
    """The definition as a loop: rows sorted by confidence, cut where the share of rows below passes i / bins."""
    rows = sorted(
        (max(row), int(np.argmax(row)) == label) for row, label in zip(proba.tolist(), winner, strict=True)
    )
    total = 0.0
    for i in range(bins):
        members = [row for place, row in enumerate(rows) if i <= place * bins / len(rows) < i + 1]
        if members:
            hits = sum(hit for _, hit in members) / len(members)
            confidence = sum(sure for sure, _ in members) / len(members)
            total += len(members) / len(rows) * abs(hits - confidence)
    return total


@pytest.mark.parametrize(("n", "bins"), [(1, 15), (7, 15), (15, 15), (100, 15), (100, 1), (1000, 10)])
def test_calibration_error_equals_a_plain_loop(n: int, bins: int):
    proba, winner = random_proba(n, n), np.random.default_rng(n).integers(0, 3, n)
    expected = plain_calibration_error(proba, winner, bins)
    assert expected_calibration_error(proba, winner, bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_a_hand_worked_example():
    """Bins {.5, .6} with one hit of two: |.5 - .55| = .05; {.8, .9} with two of two: |1 - .85| = .15; mean .1."""
    proba = np.array([[0.9, 0.05, 0.05], [0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    assert expected_calibration_error(proba, np.array([0, 1, 1, 2]), bins=2) == pytest.approx(0.1, abs=1e-12)


def test_calibration_error_does_not_depend_on_the_order_of_the_battles():
    proba = np.repeat(random_proba(12), 25, axis=0)
    winner = np.random.default_rng(1).integers(0, 3, 300)
    order = np.random.default_rng(2).permutation(300)
    straight = expected_calibration_error(proba, winner)
    assert expected_calibration_error(proba[order], winner[order]) == pytest.approx(straight, abs=1e-12)


def test_a_constant_prediction_equal_to_the_class_shares_is_calibrated():
    """200 rows (.4, .35, .25) of which 80 are won by A: accuracy .4 and confidence .4, whatever the order."""
    winner = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [80, 70, 50]))
    assert expected_calibration_error(np.tile([0.4, 0.35, 0.25], (200, 1)), winner) == pytest.approx(0, abs=1e-12)


def test_the_swap_gap_of_a_hand_worked_example():
    """Row 1 swapped back is (.5, .3, .2): gap 0; row 2 is (.1, .7, .2) against (.1, .8, .1): gap .1; mean .05."""
    swapped = np.array([[0.3, 0.5, 0.2], [0.7, 0.1, 0.2]])
    assert swap_gap(HAND[:2], swapped) == pytest.approx(0.05, abs=1e-12)


def test_a_symmetric_prediction_has_no_swap_gap(predictions: Predictions):
    assert swap_gap(predictions.proba, predictions.swap().proba) == 0
    assert swap_gap(predictions.proba, predictions.proba) > 0


def test_the_flip_rate_of_a_hand_worked_example():
    """Swapped back, row 1 is (.5, .3, .2), still A; row 2 is (.1, .2, .7), a tie instead of B."""
    straight = np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]])
    swapped = np.array([[0.3, 0.5, 0.2], [0.2, 0.1, 0.7]])
    assert flip_rate(straight, swapped) == 0.5


def test_flip_rate_is_0_for_symmetric_and_1_for_constant_predictions(predictions: Predictions):
    assert flip_rate(predictions.proba, predictions.swap().proba) == 0
    first = np.tile([0.5, 0.3, 0.2], (4, 1))
    assert flip_rate(first, first) == 1


@pytest.mark.parametrize("measure", [swap_gap, flip_rate])
def test_swap_measures_refuse_predictions_of_different_battles(measure):
    with pytest.raises(ValueError, match="of the same battles"):
        measure(HAND, HAND[:1])


# The bootstrap


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


def test_log_loss_is_the_mean_over_all_battles(battles: Battles, predictions: Predictions):
    """Winners A, A, B, tie, B: -(ln .5 + ln .8 + ln .5 + ln .7 + ln .35) / 5 = 3.015935 / 5."""
    assert log_loss(predictions.proba, battles.labels) == pytest.approx(3.015935 / 5, abs=1e-6)


# Reliability and confusion


@given(st.integers(1, 60), st.integers(0, 10**6))
def test_reliability_equals_a_pandas_groupby_of_all_three_outcomes(n: int, seed: int):
    proba, winner = random_proba(n, seed), np.random.default_rng(seed).integers(0, 3, n)
    frame = pd.DataFrame({"predicted": proba.ravel(), "observed": np.eye(3)[winner].ravel()})
    expected = frame.groupby(pd.cut(frame.predicted, np.linspace(0, 1, 21), right=False), observed=True).agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), count=("observed", "size")
    )
    found = [(b.predicted, b.observed, b.count) for b in reliability(proba, winner)]
    assert np.array(found) == pytest.approx(expected.to_numpy())


def test_reliability_has_a_bin_for_probability_1():
    bins = reliability(np.array([[1.0, 0.0, 0.0]]), np.array([1]))
    assert [(b.predicted, b.observed, b.count) for b in bins] == [(0.0, 0.5, 2), (1.0, 0.0, 1)]


@given(st.integers(1, 60), st.integers(0, 10**6))
def test_confusion_equals_scikit_learn(n: int, seed: int):
    proba, winner = random_proba(n, seed), np.random.default_rng(seed).integers(0, 3, n)
    expected = metrics.confusion_matrix(winner, proba.argmax(axis=1), labels=[0, 1, 2])
    assert confusion(proba, winner).tolist() == expected.tolist()


# Intervals without a bootstrap


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
