"""A calibration finds the temperature and the tie offset that made the winners."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.probabilities import softmax
from pairrank.evaluation.scoring import log_loss
from pairrank.models.heads.calibration import FLATTEST, MOST_OFFSET, Calibration, fit_calibration
from tests.support.battles import tiny_battles


def drawn(n: int, temperature: float, offset: float, seed: int = 0) -> tuple[np.ndarray, Battles]:
    """Probabilities of n battles, and winners drawn from the probabilities at another temperature and offset."""
    rng = np.random.default_rng(seed)
    margin, tie = rng.normal(size=n), rng.normal(size=n)
    logits = np.stack([margin, -margin, tie], axis=1)
    true = softmax(logits / temperature + np.array([0.0, 0.0, offset]))
    winner = (rng.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    return softmax(logits), replace(tiny_battles(n), winner=winner.astype(np.int64))


@pytest.mark.parametrize(("temperature", "offset"), [(0.5, 1.0), (2.0, -0.5), (1.0, 0.0)])
def test_the_truth_is_found_in_many_battles(temperature: float, offset: float):
    proba, battles = drawn(20_000, temperature, offset)
    found = fit_calibration(proba, battles)
    assert found.temperature == pytest.approx(temperature, rel=0.06)
    assert found.tie_offset == pytest.approx(offset, abs=0.06)


@given(st.integers(0, 999), st.floats(0.3, 3.0), st.floats(-2, 2))
@settings(deadline=None, max_examples=15)
def test_no_search_without_gradients_finds_a_better_one(seed: int, temperature: float, offset: float):
    proba, battles = drawn(60, temperature, offset, seed)
    found = fit_calibration(proba, battles)

    def loss(free: np.ndarray) -> float:
        if not 1 / FLATTEST <= free[0] <= 100 or abs(free[1]) > MOST_OFFSET:
            return np.inf
        return log_loss(Calibration(1 / free[0], free[1])(proba), battles.labels)

    best = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
    assert loss(np.array([1 / found.temperature, found.tie_offset])) <= best.fun + 1e-7


def test_nothing_changes_at_temperature_1_without_an_offset():
    proba, _ = drawn(20, 1.0, 0.0)
    assert Calibration()(proba) == pytest.approx(proba, abs=1e-12)


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_a_calibration_commutes_with_a_swap(temperature: float, offset: float):
    proba, _ = drawn(20, 1.0, 0.0)
    calibration = Calibration(temperature, offset)
    assert calibration(proba[:, [1, 0, 2]])[:, [1, 0, 2]] == pytest.approx(calibration(proba), abs=1e-12)


def test_a_weight_of_2_is_a_battle_that_occurs_twice():
    proba, battles = drawn(40, 0.7, 0.4)
    again = replace(battles, id=object_array([f"again {i}" for i in battles.id]))
    twice = fit_calibration(np.vstack([proba, proba[:10]]), concatenate([battles, again.take(slice(0, 10))]))
    weight = np.where(np.arange(40) < 10, 2.0, 1.0)
    weighed = fit_calibration(proba, replace(battles, weight=weight))
    assert weighed.temperature == pytest.approx(twice.temperature, rel=1e-4)
    assert weighed.tie_offset == pytest.approx(twice.tie_offset, abs=1e-4)


def test_battles_that_teach_the_margin_alone_leave_the_tie_offset_at_0():
    proba, battles = drawn(200, 0.5, 2.0)
    decided = battles.labels != 2
    teaches = object_array(["margin"] * int(decided.sum()))
    found = fit_calibration(proba[decided], replace(battles.take(decided), teaches=teaches))
    assert found.tie_offset == 0
    assert found.temperature == pytest.approx(0.5, rel=0.4)


def test_soft_targets_replace_the_winners_if_asked():
    proba, battles = drawn(50, 1.0, 0.0)
    target = Calibration(0.5, 1.5)
    taught = replace(battles, soft=target(proba))
    assert fit_calibration(proba, taught, soft_targets=True).tie_offset == pytest.approx(1.5, abs=1e-3)
    assert fit_calibration(proba, taught) == fit_calibration(proba, battles)


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_a_single_outcome_stays_within_the_bounds(winner: int):
    proba, battles = drawn(30, 1.0, 0.0)
    found = fit_calibration(proba, replace(battles, winner=np.full(30, winner)))
    assert 1 / FLATTEST <= found.temperature <= FLATTEST
    assert abs(found.tie_offset) <= MOST_OFFSET
    assert (found(proba) > 0).all()
