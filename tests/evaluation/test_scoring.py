import math

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
    confusion,
    decided_accuracy,
    decided_log_loss,
    expected_calibration_error,
    flip_rate,
    log_loss,
    reliability,
    swap_gap,
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


# Battles without ties


def test_decided_scores_of_a_hand_worked_example():
    """Rows 1 and 2 are decided: P(A | decided) = .5 / .8 = .625, P(B | decided) = .8 / .9 = .8889.

    -(ln .625 + ln .8889) / 2 = (.470004 + .117783) / 2 = .293893; both winners are the more probable side.
    """
    winner = np.array([0, 1, 2])
    assert decided_log_loss(HAND, winner) == pytest.approx(0.293893, abs=1e-6)
    assert decided_accuracy(HAND, winner) == 1.0
    assert decided_accuracy(HAND, np.array([1, 1, 2])) == 0.5
    assert decided_accuracy(HAND, np.array([2, 2, 0])) == 0.5  # equally probable sides


def test_ties_do_not_change_the_decided_scores():
    proba, winner = random_proba(200), np.random.default_rng(1).integers(0, 3, 200)
    decided = winner != 2
    assert decided_log_loss(proba, winner) == pytest.approx(decided_log_loss(proba[decided], winner[decided]))
    pair = proba[decided, :2] / proba[decided, :2].sum(axis=1, keepdims=True)
    assert decided_log_loss(proba, winner) == pytest.approx(metrics.log_loss(winner[decided], pair, labels=[0, 1]))
    assert decided_accuracy(proba, winner) == pytest.approx((pair.argmax(axis=1) == winner[decided]).mean())


def test_ties_alone_have_no_decided_scores():
    winner = np.array([2, 2, 2])
    assert decided_log_loss(HAND, winner) is None
    assert decided_accuracy(HAND, winner) is None
