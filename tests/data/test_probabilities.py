"""Arithmetic on probabilities agrees with worked examples, with its definitions and with the swap of A and B."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logsumexp

from pairrank.data.probabilities import (
    SWAP,
    average_orders,
    from_logs,
    log_outcomes,
    log_softmax,
    margin_and_tie,
    normalise,
    softmax,
)

ROW = st.lists(st.floats(1e-9, 1.0), min_size=3, max_size=3)
LOGIT = st.floats(-30, 30)


def test_normalise_divides_by_the_sum_in_float64():
    assert normalise(np.array([[2, 1, 1]], dtype=np.float32)).tolist() == [[0.5, 0.25, 0.25]]
    assert normalise(np.array([[1, 0, 0]])).tolist() == [[1, 0, 0]]
    assert normalise(np.zeros((0, 3))).shape == (0, 3)


def test_normalising_twice_equals_normalising_once():
    once = normalise(np.random.default_rng(0).random((50, 3)))
    assert normalise(once) == pytest.approx(once, abs=1e-15)


@pytest.mark.parametrize("row", [[0, 0, 0], [np.nan, 1, 1], [np.inf, 1, 1], [-1, 0, 0]])
def test_normalise_refuses_a_row_without_a_positive_finite_sum(row: list[float]):
    with pytest.raises(ValueError, match="cannot normalise"):
        normalise(np.array([[0.2, 0.3, 0.5], row]))


@given(LOGIT, LOGIT, LOGIT)
def test_softmax_equals_its_definition_and_log_softmax_its_logarithm(a: float, b: float, tie: float):
    powers = [math.exp(logit) for logit in (a, b, tie)]
    expected = np.array([[power / sum(powers) for power in powers]])
    assert softmax([[a, b, tie]]) == pytest.approx(expected, rel=1e-12, abs=1e-300)
    assert from_logs(log_softmax([[a, b, tie]])) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_log_probabilities_are_right_for_logits_of_any_size():
    logits = np.random.default_rng(0).normal(size=(40, 3)) * np.logspace(-2, 4, 40)[:, None]
    assert log_softmax(logits) == pytest.approx(logits - logsumexp(logits, axis=1, keepdims=True), rel=1e-12)
    two = np.stack([np.zeros(40), logits[:, 0]], axis=1)
    assert np.exp(log_softmax(two))[:, 1] == pytest.approx(expit(logits[:, 0]), abs=1e-15)
    assert log_softmax(np.empty((0, 3))).shape == (0, 3)


def test_softmax_of_huge_logits_is_finite_and_of_float32_is_float64():
    assert softmax([[1e4, 0, -1e4]]).tolist() == [[1, 0, 0]]
    assert softmax(np.zeros((2, 3), dtype=np.float32)).dtype == np.float64
    assert softmax(np.zeros((0, 3))).shape == (0, 3)


@given(LOGIT, LOGIT)
def test_log_outcomes_are_a_tie_first_and_then_a_winner(tie: float, margin: float):
    p_tie, p_a = 1 / (1 + math.exp(-tie)), 1 / (1 + math.exp(-margin))
    expected = [[(1 - p_tie) * p_a, (1 - p_tie) * (1 - p_a), p_tie]]
    outcomes = np.exp(log_outcomes(np.array([tie]), np.array([margin])))
    assert outcomes == pytest.approx(np.array(expected), abs=1e-12)
    swapped = np.exp(log_outcomes(np.array([tie]), np.array([-margin])))
    assert swapped == pytest.approx(outcomes[:, SWAP])


@given(ROW)
def test_margin_and_tie_invert_the_softmax_and_change_only_the_sign_of_the_margin_on_a_swap(cells: list[float]):
    proba = np.array([cells]) / sum(cells)
    margin, tie = margin_and_tie(proba)
    assert softmax(np.stack([margin, -margin, tie], axis=-1)) == pytest.approx(proba, abs=1e-12)
    swapped = margin_and_tie(proba[:, SWAP])
    assert (swapped[0], swapped[1]) == (-margin, pytest.approx(tie))


def test_margin_and_tie_are_the_parameters_of_davidsons_model():
    """Strengths 3 and 0.5, tie parameter 0.7: P(A) ∝ 3, P(B) ∝ 0.5, P(tie) ∝ 0.7 · sqrt(1.5)."""
    shares = np.array([3.0, 0.5, 0.7 * math.sqrt(1.5)])
    margin, tie = margin_and_tie(shares / shares.sum())
    assert 2 * margin == pytest.approx(math.log(3.0) - math.log(0.5))
    assert tie == pytest.approx(math.log(0.7))


def test_margin_and_tie_of_certain_predictions_are_finite():
    margin, tie = margin_and_tie(np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]))
    assert margin.shape == tie.shape == (1, 2)
    assert np.isfinite([margin, tie]).all()


@given(ROW, ROW)
def test_average_orders_is_a_geometric_mean_that_commutes_with_a_swap(straight: list[float], swapped: list[float]):
    one, other = normalise([straight]), normalise([swapped])
    mean = average_orders(one, other)
    roots = [math.sqrt(one[0, i] * other[0, SWAP[i]]) for i in range(3)]
    assert mean == pytest.approx(np.array([[root / sum(roots) for root in roots]]))
    assert average_orders(other, one) == pytest.approx(mean[:, SWAP])
