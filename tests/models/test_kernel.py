"""Kernels are antisymmetric and positive semi-definite, and the fit is the one that a direct search finds."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import count_features
from pairrank.models.base import build
from pairrank.models.heads.kernels import (
    Points,
)
from pairrank.models.kernel import KernelLogistic
from pairrank.models.prior import Prior
from pairrank.models.saving import load_model, save_model
from tests.support.battles import arena_of_words, plain_battles
from tests.support.kernels import even_by_hand, odd_by_hand

SETTINGS = [
    pytest.param({}, id="default"),
    pytest.param({"rbf": 0.0}, id="linear"),
    pytest.param({"rbf": 1.0, "length_scale": 0.7}, id="gaussian"),
    pytest.param({"modulate": True}, id="modulate"),
    pytest.param({"landmarks": 20}, id="landmarks"),
]
NUMBERS = arrays(np.float64, (6, 3), elements=st.floats(-3, 3, width=32))
NONE = np.empty((6, 0))


@pytest.fixture(scope="module")
def train() -> Battles:
    return arena_of_lengths(120)


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return arena_of_lengths(50, seed=1)


def arena_of_lengths(n: int, seed: int = 0) -> Battles:
    """Return battles whose longer answer wins, unless the prompt asks to be brief; equal answers tie."""
    rng = np.random.default_rng(seed)
    rows, winners = [], []
    for i in range(n):
        brief = rng.random() < 0.5
        sizes = rng.integers(2, 30, 2)[[0, int(rng.random() > 0.3)]]
        prompt = f"Question {i}?" if not brief else f"In one word only please, question {i}?" + " Be brief." * 5
        rows.append((prompt, *("one two three " * int(size) for size in sizes)))
        winners.append(2 if sizes[0] == sizes[1] else int((sizes[0] < sizes[1]) != brief))
    return plain_battles(*rows, winner=winners)


# --- The model


@pytest.mark.parametrize("modulate", [False, True])
@pytest.mark.parametrize("name", ["margin", "tie"])
@pytest.mark.parametrize("rbf", [0.0, 0.5, 1.0])
@given(x=NUMBERS, y=NUMBERS)
@settings(max_examples=25, deadline=None)
def test_every_kernel_is_symmetric_and_positive_semi_definite(modulate: bool, name, rbf: float, x, y):
    kernel = KernelLogistic(rbf=rbf, modulate=modulate, length_scale=0.8).kernel(name)
    # The points include mirror images, which reveal a kernel that is not odd.
    points = Points(np.vstack([x, -x]), np.vstack([y, y]))
    values = kernel(points, points)
    np.testing.assert_allclose(values, values.T, atol=1e-12)
    assert np.linalg.eigvalsh(values).min() > -1e-10


def direct(
    kernel: np.ndarray, target: np.ndarray, weight: np.ndarray, penalty: float, intercept: bool
) -> np.ndarray:
    """Return the weights (and intercept) that minimise weighted log loss + penalty / 2 · alpha' K alpha."""
    sign, m = 2 * target - 1, len(target)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        alpha, bias = values[:m], values[m] if intercept else 0.0
        logit = sign * (kernel @ alpha + bias)
        slope = -weight * sign / (1 + np.exp(logit))
        value = (weight * np.logaddexp(0, -logit)).sum() + penalty / 2 * alpha @ kernel @ alpha
        gradient = kernel @ (slope + penalty * alpha)
        return value, np.append(gradient, slope.sum()) if intercept else gradient

    options = {"gtol": 1e-7, "maxiter": 5000}
    return minimize(loss, np.zeros(m + intercept), jac=True, method="BFGS", options=options).x


@pytest.mark.parametrize("modulate", [False, True])
def test_with_all_rows_as_landmarks_it_is_kernel_logistic_regression_solved_directly(modulate: bool):
    train, fresh = arena_of_lengths(40), arena_of_lengths(30, seed=1)
    weighted = replace(train, weight=np.linspace(0.5, 2, len(train)))
    model = KernelLogistic(rbf=0.6, length_scale=1.2, penalty=0.7, modulate=modulate).fit(weighted)
    f, g = count_features(train, model.groups), count_features(fresh, model.groups)
    decided = train.labels != 2
    weight = weighted.weights
    spread = np.sqrt(np.average(f.odd[decided] ** 2, axis=0, weights=weight[decided]))
    spread[spread < 1e-9] = 1
    centre = np.average(f.even, axis=0, weights=weight)
    width = np.sqrt(np.average((f.even - centre) ** 2, axis=0, weights=weight))
    width[width < 1e-9] = 1
    odd, odd_asked = (np.clip(x / spread, -3, 3) for x in (f.odd[decided], g.odd))
    even, even_asked = (np.clip((x - centre) / width, -3, 3) for x in (f.even, g.even))

    def matrix(oracle, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.array([[oracle(x, y, 0.6, 1.2) for y in other] for x in one])

    def near(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.array([[even_by_hand(x, y, 1.0, 1.2) for y in other] for x in one]) if modulate else np.array(1.0)

    known = matrix(odd_by_hand, odd, odd) * near(even[decided], even[decided])
    asked = matrix(odd_by_hand, odd_asked, odd) * near(even_asked, even[decided])
    alpha = direct(known, train.labels[decided] == 0, weight[decided], 0.7, intercept=False)
    p_first = 1 / (1 + np.exp(-asked @ alpha))
    known, asked = matrix(even_by_hand, even, even), matrix(even_by_hand, even_asked, even)
    *alpha, bias = direct(known, train.labels == 2, weight, 0.7, intercept=True)
    p_tie = 1 / (1 + np.exp(-(asked @ np.array(alpha) + bias)))
    expected = np.stack([(1 - p_tie) * p_first, (1 - p_tie) * (1 - p_first), p_tie], axis=1)
    np.testing.assert_allclose(model.predict_proba(fresh), expected, atol=1e-4)
    # Constant predictions would pass any tolerance.
    assert expected.std(axis=0).min() > 0.03


@pytest.mark.parametrize("setting", SETTINGS)
def test_swapped_battles_have_swapped_predictions(setting: dict[str, Any], train: Battles, fresh: Battles):
    model = KernelLogistic(**setting).fit(train)
    straight = model.predict_proba(fresh)
    np.testing.assert_allclose(model.predict_proba(fresh.swap())[:, [1, 0, 2]], straight, atol=1e-12)
    assert straight.std(axis=0).min() > 0.01


def test_the_order_of_the_sides_in_training_does_not_matter(train: Battles, fresh: Battles):
    some = np.arange(len(train)) % 3 == 0
    turned = concatenate([train.take(~some), train.take(some).swap()])
    straight = KernelLogistic().fit(train).predict_proba(fresh)
    np.testing.assert_allclose(KernelLogistic().fit(turned).predict_proba(fresh), straight, atol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS[:4])
def test_a_battle_of_weight_2_equals_that_battle_twice(setting: dict[str, Any], train: Battles, fresh: Battles):
    heavy = np.arange(len(train)) % 4 == 0
    weighted = replace(train, weight=np.where(heavy, 2.0, 1.0))
    again = train.take(heavy)
    twice = concatenate([train, replace(again, id=object_array([f"again{i}" for i in again.id]))])
    one, two, plain = (KernelLogistic(**setting).fit(b).predict_proba(fresh) for b in (weighted, twice, train))
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert np.abs(one - plain).max() > 1e-3


def test_only_a_modulated_margin_learns_that_the_prompt_reverses_the_winner(train: Battles, fresh: Battles):
    decided = fresh.labels != 2
    hits = []
    for modulate in (False, True):
        proba = KernelLogistic(modulate=modulate, rbf=0.5, length_scale=0.7).fit(train).predict_proba(fresh)
        hits.append((proba[decided, :2].argmax(axis=1) == fresh.labels[decided]).mean())
    assert hits[1] > 0.9
    assert hits[0] < 0.8


def test_ties_are_found(train: Battles, fresh: Battles):
    prior = log_loss(Prior().fit(train).predict_proba(fresh), fresh.labels)
    assert log_loss(KernelLogistic().fit(train).predict_proba(fresh), fresh.labels) < prior - 0.2


def test_few_landmarks_approximate_all(train: Battles, fresh: Battles):
    every, most, few = (KernelLogistic(landmarks=n).fit(train).predict_proba(fresh) for n in (2000, 60, 5))
    assert np.abs(most - every).mean() < np.abs(few - every).mean()
    assert np.abs(most - every).mean() < 0.05


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_loaded_model_predicts_the_same_to_the_last_bit(setting, train, fresh, tmp_path: Path):
    model = KernelLogistic(**setting).fit(train)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(fresh), model.predict_proba(fresh))
    assert again.report() == model.report()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("outcomes", [[0], [2], [0, 1]])
@pytest.mark.parametrize("rows", [1, 3])
def test_very_few_battles_still_give_a_model(rows: int, outcomes: list[int], fresh: Battles):
    poor = plain_battles(*[("", "", "")] * rows, winner=np.resize(outcomes, rows).tolist())
    proba = KernelLogistic().fit(poor).predict_proba(fresh)
    assert (np.isfinite(proba) & (proba > 0)).all()


def test_no_battles_are_refused():
    with pytest.raises(UserError, match="no battles to learn from"):
        KernelLogistic().fit(arena_of_words(3).take(slice(0)))


@pytest.mark.parametrize(
    "setting",
    [
        {"groups": ("lengths",)},
        {"groups": ("prompt",)},
        {"penalty": 0.0},
        {"rbf": 1.1},
        {"rbf": -0.1},
        {"length_scale": 0.0},
        {"clip": 0.0},
        {"landmarks": 0},
        {"seed": -1},
    ],
)
def test_hyperparameters_out_of_bounds_are_refused_before_any_work(setting: dict[str, Any]):
    with pytest.raises(UserError, match=f"{next(iter(setting))} = |Did you mean 'length'"):
        KernelLogistic(**setting)


def test_its_experiment_file_holds_only_differences_from_the_defaults():
    file = Path(__file__).parents[2] / "experiments" / "kernel.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    settings = table["model"]
    assert build(settings.pop("name"), **settings) == KernelLogistic(**settings)
    assert all(getattr(KernelLogistic(), key) != value for key, value in settings.items())
