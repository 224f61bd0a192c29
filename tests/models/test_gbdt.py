"""A stack reads margins and tie logits, is symmetric, stops by whole prompts, and reports importances."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, object_array
from pairrank.data.folds import prompt_key
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import GROUPS, count_features
from pairrank.models import gbdt
from pairrank.models.base import build
from pairrank.models.gbdt import Gbdt
from pairrank.models.heads import trees
from pairrank.models.heads.trees import TreeParameters
from pairrank.models.saving import load_model, save_model
from tests.support.battles import plain_battles

QUICK = TreeParameters(learning_rate=0.2, min_leaf=5, column_share=1.0)
FAST: dict[str, Any] = {"rounds": 60, "patience": 10, "seeds": 2, "trees": QUICK}
LEARNERS = ["lightgbm", "multinomial"]


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))


def informed_battles(n: int = 300, seed: int = 0) -> Battles:
    """Return n battles, three per prompt, with an informative input "good" and an uninformative one "noise"."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3)) * 1.5
    winner = [int(rng.choice(3, p=row)) for row in softmax(hidden)]
    inputs = softmax(np.stack([hidden + rng.normal(size=(n, 3)) * 0.3, rng.normal(size=(n, 3))], axis=1))
    texts = [" ".join(["word"] * size) for size in rng.integers(1, 30, 2 * n)]
    rows = [(f"Question {seed}-{i // 3}?", a, b) for i, (a, b) in enumerate(zip(texts[:n], texts[n:], strict=True))]
    return replace(plain_battles(*rows, winner=winner), inputs=inputs, input_names=("good", "noise"))


def columns_by_hand(battles: Battles, groups: tuple[str, ...]) -> np.ndarray:
    """Return the expected (n, p) columns, odd first: counted features, margins, tie logits and sizes of margins."""
    counted, logs = count_features(battles, groups), np.log(battles.inputs)
    margin = (logs[:, :, 0] - logs[:, :, 1]) / 2
    tie = logs[:, :, 2] - (logs[:, :, 0] + logs[:, :, 1]) / 2
    return np.hstack([counted.odd, margin, counted.even, tie, np.abs(margin)])


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


@pytest.fixture(scope="module")
def train() -> Battles:
    return informed_battles()


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return informed_battles(120, seed=1)


@pytest.fixture(scope="module", params=LEARNERS)
def fitted(request: pytest.FixtureRequest, train: Battles) -> Gbdt:
    return Gbdt(learner=request.param, penalty=10.0, **FAST).fit(train)


# --- Columns


def test_columns_are_named_in_their_order(train: Battles):
    model = Gbdt(groups=("length",))
    model.names_, model.language_model_ = train.input_names, None
    columns = model._columns(train, None)
    assert columns.odd_names == ("length.chars", "good.margin", "noise.margin")
    assert columns.even_names[-4:] == ("good.tie", "noise.tie", "good.margin.size", "noise.margin.size")
    both = np.hstack([columns.odd, columns.even])
    assert both == pytest.approx(columns_by_hand(train, ("length",)), abs=1e-12)
    # Swapping the battles changes the sign of the odd columns.
    turned = model._columns(train.swap(), None)
    assert turned.odd == pytest.approx(-columns.odd, abs=1e-12)
    assert turned.even == pytest.approx(columns.even, abs=1e-12)


@pytest.mark.parametrize("learner", LEARNERS)
def test_informative_inputs_are_used(learner: str, train: Battles, fresh: Battles):
    loss = log_loss(
        Gbdt(learner=learner, groups=(), penalty=10.0, **FAST).fit(train).predict_proba(fresh), fresh.labels
    )
    assert loss < math.log(3) - 0.2


@pytest.mark.parametrize("learner", LEARNERS)
def test_counted_features_work_without_inputs(learner: str, train: Battles):
    alone = replace(train, inputs=None, input_names=())
    proba = Gbdt(learner=learner, groups=("length",), **FAST).fit(alone).predict_proba(alone)
    assert proba.sum(axis=1) == pytest.approx(np.ones(len(alone)))


# --- Symmetry


def test_swapped_battles_have_swapped_predictions(fitted: Gbdt, fresh: Battles):
    straight, swapped = fitted.predict_proba(fresh), fitted.predict_proba(fresh.swap())
    assert fitted.symmetric
    np.testing.assert_allclose(swapped, straight[:, [1, 0, 2]], atol=1e-14)
    assert straight.std(axis=0).min() > 0.05


def test_equal_sides_have_equal_probabilities(fitted: Gbdt, fresh: Battles):
    alike = (fresh.inputs + fresh.inputs[:, :, [1, 0, 2]]) / 2
    proba = fitted.predict_proba(replace(fresh, response_b=fresh.response_a, inputs=alike))
    assert proba[:, 0] == pytest.approx(proba[:, 1], abs=1e-14)


# --- Stopping


def spied_fits(
    monkeypatch: pytest.MonkeyPatch, train: Battles, **more: Any
) -> list[tuple[set[str], set[str], Any]]:
    """Return (prompts learned from, prompts held out, arguments) of every booster that `fit` makes."""
    fits: list[tuple[set[str], set[str], Any]] = []
    fit_booster = trees.fit_booster
    # Even columns, which are the same in both orders, identify the battle.
    model = Gbdt(groups=(), **(FAST | more))
    model.names_, model.language_model_ = train.input_names, None
    even = model._columns(train, None).even
    key_of = {row.tobytes(): prompt_key(prompt) for row, prompt in zip(even, train.prompt, strict=True)}
    # Rows that `complete` may add belong to no battle.
    found = lambda task: {key_of[row[-even.shape[1] :].tobytes()] for row in task.x}  # noqa: E731

    def stopped_early(task: Any, parameters: TreeParameters, rounds: int, seed: int, **options: Any) -> Any:
        validation = options.get("validation")
        booster = fit_booster(task, parameters, rounds, seed, **options)
        held = set() if validation is None else found(validation)
        fits.append(
            (found(task), held, {"rounds": rounds, "seed": seed, "booster": booster, "validation": validation})
        )
        return booster

    tasks: dict[int, tuple[Any, int]] = {}

    def begun(task: Any, parameters: TreeParameters, seeds: Any) -> Any:
        boosters = trees.new_boosters(task, parameters, seeds)
        tasks.update({id(booster): (task, seed) for booster, seed in zip(boosters, seeds, strict=True)})
        return boosters

    def finished(rounds: Any, threads: int) -> None:
        trees.add_trees_in_parallel(rounds, threads)
        for booster, count in rounds:
            task, seed = tasks[id(booster)]
            assert booster.num_trees() == count
            fits.append((found(task), set(), {"rounds": count, "seed": seed, "validation": None}))

    monkeypatch.setattr(trees, "fit_booster", stopped_early)
    monkeypatch.setattr(trees, "usable_threads", lambda: 1)  # in the order of the seeds
    monkeypatch.setattr(gbdt, "new_boosters", begun)
    monkeypatch.setattr(gbdt, "add_trees_in_parallel", finished)
    model.fit(train)
    return fits


def test_early_stopping_uses_prompts_that_are_not_trained_on(monkeypatch: pytest.MonkeyPatch, train: Battles):
    fits = spied_fits(monkeypatch, train)
    prompts = {prompt_key(prompt) for prompt in train.prompt}
    stopped, final = [g for g in fits if g[1]], [g for g in fits if not g[1]]
    assert len(stopped) == len(final) == 4  # two heads, two seeds
    for learned, held, _ in stopped:
        assert not learned & held
        assert learned | held <= prompts
        assert 0.05 < len(held) / len(prompts) < 0.4
    # The tie head gets every battle, and so every prompt.
    assert stopped[0][0] | stopped[0][1] == prompts
    assert len({frozenset(held) for _, held, _ in stopped[:2]}) == 1
    # The final fit uses all prompts, with the mean number of trees that early stopping chose.
    assert final[0][0] == prompts
    for head in (0, 1):
        best = [each["booster"].best_iteration for _, _, each in stopped[2 * head : 2 * head + 2]]
        assert {each["rounds"] for _, _, each in final[2 * head : 2 * head + 2]} == {round(sum(best) / 2)}
    assert [each["seed"] for _, _, each in final] == [0, 1, 0, 1]


def test_held_out_extra_battles_are_neither_validated_nor_trained_on(
    monkeypatch: pytest.MonkeyPatch, train: Battles
):
    light = np.arange(len(train)) % 3 == 1
    fits = spied_fits(monkeypatch, replace(train, weight=np.where(light, 0.2, 1.0), is_extra=light))
    for learned, held, each in fits:
        assert not learned & held
        if each["validation"] is not None:
            assert set(each["validation"].weight) == {1.0}


def test_without_a_hold_out_every_round_is_taken(monkeypatch: pytest.MonkeyPatch, train: Battles):
    fits = spied_fits(monkeypatch, train, hold_out=0.0, rounds=7)
    assert not any(held for _, held, _ in fits)
    assert {each["rounds"] for _, _, each in fits} == {7}


def test_noise_is_stopped_early(train: Battles):
    noise = replace(train, winner=np.random.default_rng(3).integers(0, 3, len(train)))
    trees = Gbdt(**(FAST | {"rounds": 300})).fit(noise).report()["trees"]
    assert max(trees.values()) < 30


# --- Importances


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_informative_input_has_the_largest_importance(learner: str):
    model = Gbdt(learner=learner, groups=("length",), hold_out=0.4, penalty=10.0, **FAST).fit(informed_battles(900))
    by_name = {each.column: each for each in model.importances_}
    assert [each.gain for each in model.importances_] == sorted((i.gain for i in model.importances_), reverse=True)
    assert model.importances_[0].column == "good.margin"
    assert by_name["good.margin"].gain > 4 * max(i.gain for name, i in by_name.items() if "good" not in name)
    assert by_name["good.margin"].permutation > 0.1
    assert by_name["good.tie"].permutation > 0.02
    for name in ("noise.margin", "noise.tie", "noise.margin.size", "length.chars"):
        assert abs(by_name[name].permutation) < 0.02


def test_permutation_importances_are_those_of_prompts_held_out(monkeypatch: pytest.MonkeyPatch, train: Battles):
    asked: list[Battles] = []
    loss_increases = Gbdt._loss_increases

    def spied(self: Gbdt, columns: Any, held: Battles) -> dict[str, float]:
        asked.append(held)
        return loss_increases(self, columns, held)

    monkeypatch.setattr(Gbdt, "_loss_increases", spied)
    learned = [learned for learned, held, _ in spied_fits(monkeypatch, train) if held]
    [held] = asked
    assert len(held)
    assert not {prompt_key(prompt) for prompt in held.prompt} & set.union(*learned)


def test_importances_are_written_as_a_table(fitted: Gbdt, tmp_path: Path):
    save_model(fitted, tmp_path)
    with (tmp_path / "importances.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["column"] for row in rows] == [each.column for each in fitted.importances_]
    assert [float(row["gain"]) for row in rows] == [each.gain for each in fitted.importances_]
    assert [float(row["permutation"]) for row in rows] == [each.permutation for each in fitted.importances_]
    assert len(rows) == len({row["column"] for row in rows}) > 20


@pytest.mark.parametrize("learner", LEARNERS)
def test_without_held_out_battles_there_are_no_permutation_importances(
    learner: str, train: Battles, tmp_path: Path
):
    model = Gbdt(learner=learner, groups=(), hold_out=0.0, **FAST).fit(train)
    assert all(math.isnan(each.permutation) for each in model.importances_)
    save_model(model, tmp_path)
    assert math.isnan(load_model(tmp_path).importances_[0].permutation)


# --- The linear model


@pytest.mark.parametrize("groups", [(), ("length", "turns")])
def test_the_multinomial_model_is_scikit_learns_on_both_orders(groups, train: Battles, fresh: Battles):
    weighed = replace(train, weight=np.random.default_rng(2).uniform(0.5, 2.0, len(train)))
    model = Gbdt(learner="multinomial", groups=groups, penalty=5.0, clip=2.0).fit(weighed)
    # The oracle: both orders, standardised by their weighted mean and spread, clipped, a ridge penalty.
    x = np.vstack([columns_by_hand(each, groups) for each in (train, train.swap())])
    weight = np.tile(weighed.weights, 2)
    centre = (weight @ x) / weight.sum()
    spread = np.sqrt(weight @ (x - centre) ** 2 / weight.sum())
    spread[spread < 1e-9] = 1

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.clip((x - centre) / spread, -2, 2)

    oracle = LogisticRegression(C=1 / 5, tol=1e-10, max_iter=10_000)
    oracle.fit(scaled(x), np.concatenate([train.labels, train.swap().labels]), sample_weight=weight)
    logs = [oracle.predict_log_proba(scaled(columns_by_hand(each, groups))) for each in (fresh, fresh.swap())]
    assert model.predict_proba(fresh) == pytest.approx(softmax((logs[0] + logs[1][:, [1, 0, 2]]) / 2), abs=2e-3)
    assert model.report()["parameters"] == 3 * x.shape[1] + 3
    assert model.report()["trees"] == {}


# --- Refusals, saving


def test_battles_with_other_inputs_than_in_training_are_refused(fitted: Gbdt, fresh: Battles):
    for names in (("noise", "good"), ("good",), ()):
        inputs = fresh.inputs[:, : len(names)] if names else None
        assert "good" in complaint(
            lambda n=names, i=inputs: fitted.predict_proba(replace(fresh, inputs=i, input_names=n))
        )


def test_a_stack_without_columns_is_refused(train: Battles):
    alone = replace(train, inputs=None, input_names=())
    assert "no column distinguishes A from B" in complaint(lambda: Gbdt(groups=()).fit(alone))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rounds", 0, "1 or more"),
        ("patience", 0, "1 or more"),
        ("hold_out", 1.0, "a share from 0 to below 1"),
        ("hold_out", -0.1, "a share from 0 to below 1"),
        ("seeds", 0, "1 or more"),
        ("penalty", 0.0, "a number above 0"),
        ("clip", 0.0, "a number above 0"),
        ("seed", -1, "0 or more"),
    ],
)
def test_a_value_out_of_bounds_is_refused(key, value, expected):
    assert (
        complaint(lambda: build("gbdt", **{key: value})) == f"model 'gbdt': {key} = {value}: expected {expected}."
    )


def test_a_mistyped_group_suggests_the_nearest():
    assert "Did you mean 'length'?" in complaint(lambda: build("gbdt", groups=["lenght"]))
    assert "style" in GROUPS
    assert "style" not in Gbdt().groups


def test_tree_parameters_are_a_table_of_their_own():
    assert build("gbdt", trees={"leaves": 6}) == Gbdt(trees=TreeParameters(leaves=6))
    message = complaint(lambda: build("gbdt", trees={"leaves": 1}))
    assert "trees: leaves = 1: expected a number from 2 to 131,072" in message


def test_a_loaded_model_predicts_the_same_to_the_last_bit(fitted: Gbdt, fresh: Battles, tmp_path: Path):
    save_model(fitted, tmp_path)
    again = load_model(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(fresh), fitted.predict_proba(fresh))
    assert json.dumps(again.report()) == json.dumps(fitted.report())
    assert again.importances_ == fitted.importances_


@pytest.mark.parametrize("learner", LEARNERS)
def test_guessed_strengths_are_columns_and_are_saved(learner: str, train: Battles, fresh: Battles, tmp_path: Path):
    names = {
        f"model_{side}": object_array([f"m{(i + (side == 'b')) % 3}" for i in range(len(train))]) for side in "ab"
    }
    model = Gbdt(learner=learner, groups=("length",), identity="guessed", **FAST).fit(replace(train, **names))
    without = Gbdt(learner=learner, groups=("length",), **FAST).fit(replace(train, **names))
    assert len(model.importances_) > len(without.importances_)
    answers = model.predict_proba(fresh)
    np.testing.assert_allclose(model.predict_proba(fresh.swap())[:, [1, 0, 2]], answers, atol=1e-12)
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(fresh), answers)
