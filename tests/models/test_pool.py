"""A pool is a geometric mean with few parameters, and uses a fit only if it helps on unseen prompts."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize
from scipy.special import logsumexp

from pairrank.data.battles import Battles
from pairrank.data.folds import fold_of, prompt_keys
from pairrank.errors import UserError
from pairrank.models import pool as module
from pairrank.models.base import build
from pairrank.models.pool import Pool, Weighting
from pairrank.models.saving import load_model, save_model
from tests.support.battles import plain_battles

SHARP, FLAT = 2.0, 0.5
"""The largest and the smallest sum of the weights: temperatures 1/2 and 2."""


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))


def asked(
    n: int = 400, shown: tuple[float, ...] = (1.0, 1.0), noise: tuple[float, ...] = (0.5, 0.5), seed: int = 0
) -> Battles:
    """Return n battles whose winners follow hidden logits; input i is those times shown[i], plus its own noise.

    So the best temperature for a single input without noise is its `shown`.
    """
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3)) * 1.5
    winner = [int(rng.choice(3, p=row)) for row in softmax(hidden)]
    inputs = [
        softmax(times * hidden + rng.normal(size=(n, 3)) * by) for times, by in zip(shown, noise, strict=True)
    ]
    battles = plain_battles(*((f"question {i}", "yes", "no") for i in range(n)), winner=winner)
    return replace(battles, inputs=np.stack(inputs, axis=1), input_names=("one", "two", "three")[: len(shown)])


def guessed(n: int, count: int, seed: int = 0) -> Battles:
    """Return n battles whose winners are independent of their `count` inputs."""
    battles = asked(n, (1.0,) * count, (0.5,) * count, seed)
    return replace(battles, winner=np.random.default_rng(seed + 99).integers(0, 3, n))


def loss_of(weights: Any, battles: Battles, offset: float = 0.0) -> float:
    """Return the weighted log loss of a log-linear pool, computed without the code under test."""
    logits = np.einsum("k,nkc->nc", np.asarray(weights), np.log(battles.inputs)) + np.array([0, 0, offset])
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(battles)), battles.labels]
    return float(np.average(losses, weights=battles.weights))


def mean_loss(proba: np.ndarray, battles: Battles) -> float:
    return float(-np.log(proba[np.arange(len(battles)), battles.labels]).mean())


def fit_alone(model: Pool, battles: Battles) -> Weighting:
    """Return the weighting that is fitted to these battles, whether or not it helps on unseen prompts."""
    return model._fit(battles.inputs, battles.labels, battles.weights)


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


# --- Equal weights


def test_equal_weights_are_the_geometric_mean_and_learn_nothing():
    battles = asked(30, (1.0, 3.0, 0.2), (0.5, 1.0, 0.1))
    model = Pool().fit(battles)
    product = battles.inputs.prod(axis=1) ** (1 / 3)
    assert model.predict_proba(battles) == pytest.approx(product / product.sum(axis=1, keepdims=True), abs=1e-12)
    assert model.report() == {
        "parameters": 0,
        "weights": dict.fromkeys(("one", "two", "three"), pytest.approx(1 / 3)),
        "temperature": pytest.approx(1),
        "tie_offset": 0.0,
    }


def test_linear_space_averages_the_probabilities_themselves():
    battles = asked(30)
    mean = (battles.inputs[:, 0] + battles.inputs[:, 1]) / 2
    assert Pool(space="linear").fit(battles).predict_proba(battles) == pytest.approx(mean, abs=1e-12)


def test_equal_weights_ignore_the_winners():
    battles = replace(asked(30), winner=None)
    assert len(Pool().fit(battles).predict_proba(battles)) == 30
    assert "no winners" in complaint(lambda: Pool(weights="fitted").fit(battles))


@given(st.lists(st.sampled_from([0.0, 1e-300, 1e-12, 0.3, 1.0]), min_size=12, max_size=12))
def test_certain_inputs_give_finite_predictions(cells: list[float]):
    inputs = np.array(cells).reshape(2, 2, 3)
    for space in ("log", "linear"):
        if space == "linear" and not inputs.sum(axis=(1, 2)).all():
            continue
        proba = Pool(space=space)._pool(inputs, Weighting([1.0, 1.0]))
        assert np.isfinite(proba).all()
        assert proba.sum(axis=1) == pytest.approx(np.ones(2))


# --- Fits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("shown", "noise"),
    [
        ((0.7, 1.5), (0.3, 1.5)),
        ((1.0, 1.0, 1.0), (0.5, 1.0, 2.0)),
        ((3.0, 0.2), (1.0, 0.2)),
        ((6.0, 6.0, 6.0), (3.0, 2.0, 1.0)),
        ((0.1, 0.1), (0.01, 0.01)),
    ],
)
def test_fitted_weights_minimise_the_loss(shown, noise, weighted):
    """The oracle: trust-constr with an exact gradient, over the same set of weights."""
    battles = asked(300, shown, noise)
    if weighted:
        battles = replace(battles, weight=np.random.default_rng(5).uniform(0.1, 3.0, 300))
    logs = np.log(battles.inputs)
    share = battles.weights / battles.weights.sum()

    def slope(weights: np.ndarray, _: Battles) -> np.ndarray:
        error = softmax(np.einsum("k,nkc->nc", weights, logs)) - np.eye(3)[battles.labels]
        return np.einsum("n,nc,nkc->k", share, error, logs)

    count = len(shown)
    best = minimize(
        loss_of,
        np.full(count, 1 / count),
        args=(battles,),
        jac=slope,
        method="trust-constr",
        bounds=[(0, None)] * count,
        constraints=LinearConstraint(np.ones(count), FLAT, SHARP),
        options={"gtol": 1e-9, "xtol": 1e-12, "maxiter": 3000},
    )
    found = fit_alone(Pool(weights="fitted"), battles)
    assert loss_of(found.weights, battles) == pytest.approx(best.fun, abs=5e-6)
    assert found.weights == pytest.approx(best.x, abs=5e-3)


def test_a_pool_of_one_input_is_temperature_scaling():
    battles = asked(600, (1.6,), (0.3,))
    grid = np.linspace(FLAT, SHARP, 3001)
    by_force = grid[np.argmin([loss_of([weight], battles) for weight in grid])]
    for weights in ("fitted", "temperature"):
        model = Pool(weights=weights).fit(battles)
        assert model.weighting_.temperature == pytest.approx(1 / by_force, abs=2e-3)
        logits = np.log(battles.inputs[:, 0]) / model.weighting_.temperature
        assert model.predict_proba(battles) == pytest.approx(softmax(logits), abs=1e-12)
    # The scale with which the battles were generated.
    assert model.weighting_.temperature == pytest.approx(1.6, abs=0.3)


def test_one_temperature_for_several_inputs_leaves_their_weights_equal():
    battles = asked(600, (2.0, 2.0), (0.5, 1.5))
    model = Pool(weights="temperature").fit(battles)
    first, second = model.weighting_.weights
    assert first == second
    grid = np.linspace(FLAT, SHARP, 3001)
    by_force = grid[np.argmin([loss_of([weight / 2] * 2, battles) for weight in grid])]
    assert first + second == pytest.approx(by_force, abs=2e-3)


@pytest.mark.parametrize(("shown", "bound"), [(0.02, 0.5), (50.0, 2.0)])
@pytest.mark.parametrize("weights", ["fitted", "temperature"])
def test_the_temperature_stays_within_its_bounds(weights, shown, bound):
    battles = asked(300, (shown,) * 2, (shown / 2,) * 2)
    found = Pool(weights=weights).fit(battles).weighting_
    assert found.temperature == pytest.approx(bound, abs=1e-6)
    assert min(found.weights) >= 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from(["fitted", "temperature", "greedy", "equal"]))
def test_weights_are_never_negative_and_sum_to_one_over_the_temperature(seed, count, weights):
    offset = weights != "greedy"
    found = fit_alone(Pool(weights=weights, tie_offset=offset), guessed(40, count, seed))
    assert min(found.weights) >= 0
    assert sum(found.weights) == pytest.approx(1 / found.temperature)
    assert 0.5 - 1e-6 <= found.temperature <= 2 + 1e-6
    if weights in ("greedy", "equal"):
        assert found.temperature == pytest.approx(1)


def test_in_linear_space_fitted_weights_are_a_mixture():
    battles = asked(400, (1.0, 1.0), (0.2, 2.0))
    found = fit_alone(Pool(weights="fitted", space="linear"), battles)
    inputs = battles.inputs
    grid = np.linspace(0, 1, 1001)
    by_force = grid[np.argmin([mean_loss(g * inputs[:, 0] + (1 - g) * inputs[:, 1], battles) for g in grid])]
    assert found.weights == pytest.approx([by_force, 1 - by_force], abs=2e-3)


def test_the_tie_offset_corrects_inputs_with_too_few_ties():
    battles = asked(2000, (1.0, 1.0), (0.05, 0.05))
    logits = np.log(battles.inputs) - np.array([0, 0, 0.9])
    shy = replace(battles, inputs=softmax(logits))
    model = Pool(tie_offset=True).fit(shy)
    grid = np.linspace(0.4, 1.4, 1001)
    by_force = grid[np.argmin([loss_of([0.5, 0.5], shy, offset) for offset in grid])]
    assert grid[0] < by_force < grid[-1]  # the loss is convex, so it has no other minimum
    assert model.weighting_.tie_offset == pytest.approx(by_force, abs=2e-3)
    assert model.weighting_.tie_offset == pytest.approx(0.9, abs=0.15)
    assert model.weighting_.weights == pytest.approx([0.5, 0.5])
    straight = Pool().fit(battles).predict_proba(battles)
    assert np.abs(model.predict_proba(shy) - straight).max() < 0.05
    assert model.report()["parameters"] == 1


def test_the_tie_offset_and_the_weights_are_fitted_together():
    battles = asked(500, (1.5, 0.8), (0.3, 0.8))
    shy = replace(battles, inputs=softmax(np.log(battles.inputs) - np.array([0, 0, 0.7])))
    found = fit_alone(Pool(weights="fitted", tie_offset=True), shy)
    loss = loss_of(found.weights, shy, found.tie_offset)
    # The loss is convex, so no step from the minimum decreases it, whatever its scale.
    rng = np.random.default_rng(1)
    for step in rng.normal(size=(200, 3)) * [[0.05]]:
        weights = np.clip(found.weights + step[:2], 0, None)
        if FLAT <= weights.sum() <= SHARP:
            assert loss_of(weights, shy, found.tie_offset + step[2]) >= loss - 1e-8


@pytest.mark.parametrize("space", ["log", "linear"])
@pytest.mark.parametrize("steps", [1, 2])
def test_greedy_selection_takes_the_best_step_each_time(space, steps):
    for seed in range(4):
        battles = asked(60, (1.0, 0.8, 1.2), (0.8, 0.9, 1.0), seed)

        def loss(chosen: tuple[int, ...], battles: Battles = battles) -> float:
            inputs = battles.inputs[:, list(chosen)]
            whole = inputs.mean(axis=1) if space == "linear" else np.exp(np.log(inputs).mean(axis=1))
            return mean_loss(whole / whole.sum(axis=1, keepdims=True), battles)

        first = min(range(3), key=lambda i: loss((i,)))
        second = min(range(3), key=lambda i: loss((first, i)))
        tried = [(first,), (first, second)][:steps]
        best = min(tried, key=loss)
        expected = np.bincount(best, minlength=3) / len(best)
        found = fit_alone(Pool(weights="greedy", space=space, steps=steps), battles)
        assert found.weights == pytest.approx(expected)


def test_the_best_greedy_step_is_kept_not_the_last():
    """With two equally good inputs, one of each is best, and a third step can only make it worse."""
    battles = asked(400, (1.0, 1.0), (0.8, 0.8))
    balanced = loss_of([1 / 2, 1 / 2], battles)
    assert balanced < min(loss_of([2 / 3, 1 / 3], battles), loss_of([1 / 3, 2 / 3], battles))
    assert fit_alone(Pool(weights="greedy", steps=3), battles).weights == [0.5, 0.5]


def test_many_greedy_steps_approximate_the_best_mixture():
    battles = asked(400, (1.0, 1.0), (0.4, 0.9))
    greedy = fit_alone(Pool(weights="greedy", steps=60), battles)
    by_force = min(loss_of([w, 1 - w], battles) for w in np.linspace(0, 1, 1001))
    assert loss_of(greedy.weights, battles) == pytest.approx(by_force, abs=1e-4)


def test_a_weight_of_2_equals_the_battle_twice():
    battles = asked(60, (0.7, 1.5), (0.3, 1.5))
    doubled = np.arange(60) % 3 == 0
    weighed = replace(battles, weight=np.where(doubled, 2.0, 1.0))
    twice = battles.take(np.concatenate([np.arange(60), np.flatnonzero(doubled)]))
    for weights, offset in (("fitted", True), ("temperature", False), ("greedy", False), ("equal", True)):
        model = Pool(weights=weights, tie_offset=offset)
        one, other = fit_alone(model, weighed), fit_alone(model, twice)
        assert one.weights == pytest.approx(other.weights, abs=1e-3)
        assert one.tie_offset == pytest.approx(other.tie_offset, abs=1e-3)
        gains = model._inner_gain(weighed.inputs, weighed)[0], model._inner_gain(twice.inputs, twice)[0]
        assert gains[0] == pytest.approx(gains[1], abs=1e-4)


def test_battles_of_weight_0_do_not_decide_whether_a_fit_is_used():
    battles = asked(300, (2.5, 2.5), (0.3, 0.3))
    wrong = asked(100, (-40.0, -40.0), (0.3, 0.3), seed=1)
    whole = replace(
        battles,
        **{
            name: np.concatenate([getattr(part, name) for part in (battles, wrong)])
            for name in ("id", "prompt", "response_a", "response_b", "winner", "inputs")
        },
        weight=np.repeat([1.0, 1e-9], [300, 100]),
    )
    alone, with_them = (Pool(weights="temperature").fit(each) for each in (battles, whole))
    assert with_them.inner_gain_[0] == pytest.approx(alone.inner_gain_[0], abs=1e-4)
    assert with_them.weighting_.temperature == pytest.approx(alone.weighting_.temperature, abs=1e-4)
    assert alone.weighting_.temperature > 1.5


# --- Whether a fit is used


def test_a_fit_that_helps_unseen_prompts_is_used_and_reported():
    battles = asked(400, (1.0, 1.0), (0.2, 3.0))
    fresh = asked(400, (1.0, 1.0), (0.2, 3.0), seed=7)
    for weights in ("fitted", "greedy"):
        model = Pool(weights=weights).fit(battles)
        gain, error = model.inner_gain_
        assert gain > error > 0
        assert model.weighting_ == fit_alone(model, battles)
        assert model.weighting_.weights[0] > 4 * model.weighting_.weights[1]
        equal = Pool().fit(battles).predict_proba(fresh)
        assert mean_loss(model.predict_proba(fresh), fresh) < mean_loss(equal, fresh) - 0.1
        report = model.report()
        assert report["parameters"] == 2
        assert report["inner_gain"] == {"mean": gain, "standard_error": error}
        assert "warnings" not in report


def test_a_fit_without_gain_is_not_used_and_reported():
    """Both inputs are the true probabilities, so other weights can only fit noise."""
    kept = 0
    for seed in range(8):
        battles = asked(120, (1.0, 1.0), (0.0, 0.0), seed)
        model = Pool(weights="fitted").fit(battles)
        kept += model.weighting_ != Weighting([0.5, 0.5])
        if model.weighting_ == Weighting([0.5, 0.5]):
            [warning] = model.report()["warnings"]
            assert "equal weights and temperature 1 are kept" in warning
            gain, error = model.inner_gain_
            assert f"{gain:+.4f} ± {error:.4f}" in warning
            assert gain <= error
            assert model.report()["parameters"] == 0
            assert np.array_equal(model.predict_proba(battles), Pool().fit(battles).predict_proba(battles))
    assert kept <= 3


def test_all_battles_of_one_prompt_leave_nothing_to_check_a_fit_on():
    battles = asked(30, (3.0, 3.0))
    one = replace(battles, prompt=battles.prompt[[0] * 30])
    model = Pool(weights="fitted").fit(one)
    assert model.weighting_ == Weighting([0.5, 0.5])
    assert model.inner_gain_ == (0.0, 0.0)
    assert model.report()["warnings"]


# --- Leaks


def test_no_prompt_is_on_both_sides_of_the_inner_cross_validation(monkeypatch: pytest.MonkeyPatch):
    battles = asked(90)
    # Three battles per prompt with different spelling, so that only the prompt key identifies it.
    spelt = [(f"{'  ' * (i % 2)}QUESTION {i // 3}".lower() if i % 3 else f"Question  {i // 3}",) for i in range(90)]
    battles.prompt[:] = spelt
    keys = np.array(prompt_keys(battles))
    assert len(set(keys)) == 30
    learned_from: list[set[str]] = []
    scored_on: list[set[str]] = []
    fit, combine = Pool._fit, Pool._pool
    key_of = {row.tobytes(): key for row, key in zip(battles.inputs, keys, strict=True)}

    def keys_of(inputs: np.ndarray) -> set[str]:
        return {key_of[row.tobytes()] for row in inputs}

    def spied_fit(self: Pool, inputs: np.ndarray, *others: Any) -> Weighting:
        learned_from.append(keys_of(inputs))
        inside.append(True)
        found = fit(self, inputs, *others)
        inside.pop()
        return found

    def spied_pool(self: Pool, inputs: np.ndarray, weighting: Weighting) -> np.ndarray:
        if not inside:
            scored_on.append(keys_of(inputs))
        return combine(self, inputs, weighting)

    inside: list[bool] = []
    monkeypatch.setattr(Pool, "_fit", spied_fit)
    monkeypatch.setattr(Pool, "_pool", spied_pool)
    Pool(weights="fitted", inner_folds=4).fit(battles)
    # Fits: all battles, then each fold. Scores: each fold, then all battles with equal weights.
    whole, *inner = learned_from
    *held, plain = scored_on
    assert whole == plain == set(keys)
    assert len(inner) == len(held) == 4
    for learned, scored in zip(inner, held, strict=True):
        assert scored
        assert not learned & scored
        assert learned | scored == set(keys)
        assert len({fold_of(key, 4, "pool") for key in scored}) == 1
    assert sum(map(len, held)) == 30


def test_scored_on_the_battles_that_chose_it_a_fit_looks_better_than_it_is(monkeypatch: pytest.MonkeyPatch):
    """A deliberate leak: every fold of the inner cross-validation is scored by a fit to all battles."""
    planted, honest = [], []
    for seed in range(6):
        battles = guessed(60, 3, seed)
        model = Pool(weights="fitted", tie_offset=True)
        whole = fit_alone(model, battles)
        honest.append(model._inner_gain(battles.inputs, battles)[0])
        with monkeypatch.context() as leak:
            leak.setattr(Pool, "_fit", lambda *_, whole=whole: whole)
            planted.append(model._inner_gain(battles.inputs, battles)[0])
        equal = loss_of([1 / 3] * 3, battles)
        assert planted[-1] == pytest.approx(equal - loss_of(whole.weights, battles, whole.tie_offset), abs=1e-9)
    assert all(leaky > true for leaky, true in zip(planted, honest, strict=True))
    assert np.mean(planted) > np.mean(honest) + 0.01


def test_the_inner_folds_take_battles_of_one_prompt_apart_from_the_others(monkeypatch: pytest.MonkeyPatch):
    """Each prompt occurs six times with the same winner: folds by row would know the winners that they score."""
    once = guessed(12, 3, seed=4)
    battles = once.take(np.repeat(np.arange(12), 6))
    model = Pool(weights="fitted", tie_offset=True)
    honest = model._inner_gain(battles.inputs, battles)[0]
    by_row = lambda battles, k, salt: np.arange(len(battles)) % k  # noqa: E731
    monkeypatch.setattr(module, "assign_folds", by_row)
    leaky = model._inner_gain(battles.inputs, battles)[0]
    assert leaky > honest + 0.02


# --- Laws


@pytest.mark.parametrize(
    "switches",
    [
        {"weights": "fitted", "tie_offset": True},
        {"weights": "temperature"},
        {"weights": "greedy"},
        {"weights": "fitted", "space": "linear"},
    ],
)
def test_a_pool_is_symmetric_and_so_is_what_it_learns(switches):
    battles = asked(150, (2.0, 0.7), (0.3, 2.0))
    model = Pool(**switches).fit(battles)
    assert model.symmetric
    answers = model.predict_proba(battles)
    assert model.predict_proba(battles.swap())[:, [1, 0, 2]] == pytest.approx(answers, abs=1e-15)
    turned = Pool(**switches).fit(battles.swap())
    assert turned.predict_proba(battles) == pytest.approx(answers, abs=1e-4)
    assert model.weighting_ != Weighting([0.5, 0.5])


@pytest.mark.parametrize("weights", ["equal", "fitted", "temperature", "greedy"])
def test_the_order_of_the_inputs_changes_nothing(weights):
    battles = asked(200, (1.0, 0.5, 2.0), (0.3, 1.0, 2.0))
    answers = Pool(weights=weights).fit(battles).predict_proba(battles)
    for order in itertools.permutations(range(3)):
        turned = replace(
            battles,
            inputs=battles.inputs[:, list(order)],
            input_names=tuple(np.array(battles.input_names)[list(order)].tolist()),
        )
        assert Pool(weights=weights).fit(turned).predict_proba(turned) == pytest.approx(answers, abs=1e-3)


def test_battles_with_other_inputs_than_in_training_are_refused():
    battles = asked(30)
    model = Pool().fit(battles)
    for names in (("two", "one"), ("one", "other"), ("one",)):
        other = replace(battles, inputs=battles.inputs[:, : len(names)], input_names=names)
        message = complaint(lambda other=other: model.predict_proba(other))
        assert "one, two" in message
        assert names[-1] in message


def test_battles_without_inputs_are_refused_with_an_example():
    alone = replace(asked(10), inputs=None, input_names=())
    assert 'inputs = ["structure"]' in complaint(lambda: Pool().fit(alone))
    fitted = Pool().fit(asked(10))
    assert "inputs" in complaint(lambda: fitted.predict_proba(alone))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"inner_folds": 1}, "inner_folds = 1: expected 2 or more"),
        ({"steps": 0}, "steps = 0: expected 1 or more"),
        ({"space": "linear", "tie_offset": True}, 'Set space = "log"'),
        ({"space": "linear", "weights": "temperature"}, 'Set space = "log"'),
        ({"weights": "greedy", "tie_offset": True}, "no tie offset"),
    ],
)
def test_contradictory_hyperparameters_are_refused(wrong, expected):
    assert expected in complaint(lambda: build("pool", **wrong))


def test_all_complaints_come_at_once():
    message = complaint(lambda: build("pool", steps=0, inner_folds=0, space="linear", tie_offset=True))
    assert all(part in message for part in ("steps", "inner_folds", "linear"))


@pytest.mark.parametrize("kept", [True, False])
def test_a_loaded_pool_predicts_and_reports_the_same(kept, tmp_path: Path):
    battles = asked(300, (3.0, 1.0), (0.3, 3.0)) if kept else guessed(60, 2)
    model = Pool(weights="fitted" if kept else "equal", tie_offset=kept).fit(battles)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert np.array_equal(again.predict_proba(battles), model.predict_proba(battles))
    assert again.report() == model.report()
    assert again.weighting_ == model.weighting_
    assert json.loads((tmp_path / "pool.json").read_text())["inputs"] == ["one", "two"]
