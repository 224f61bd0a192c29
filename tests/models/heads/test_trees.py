"""Trees and lines learn what a head is given, with its weights: no more, and no longer than held-out rows gain."""

from collections.abc import Callable
from dataclasses import fields

import lightgbm as lgb
import numpy as np
import pytest
from scipy.special import expit, logsumexp

from pairrank.data.battles import Battles
from pairrank.data.probabilities import log_softmax
from pairrank.errors import UserError
from pairrank.models.heads.linear import Task, fit_linear_head, margin_task, outcome_task, tie_task
from pairrank.models.heads.trees import (
    TreeParameters,
    add_trees,
    booster_logits,
    detach,
    fit_booster,
    leaf_count,
    new_booster,
)
from tests.support.battles import plain_battles

QUICK = TreeParameters(learning_rate=0.2, leaves=4, min_leaf=5, leaf_penalty=3.0, column_share=0.5, row_share=0.7)


def some_task(n: int = 300, seed: int = 0, classes: int = 2, weighted: bool = True) -> Task:
    """Rows of four columns, of which the first tells the class through a haze."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    target = np.digitize(x[:, 0] + rng.normal(size=n), [0.0, 0.9][: classes - 1])
    return Task(x, target.astype(np.int64), rng.uniform(0.2, 3.0, n) if weighted else np.ones(n))


def directly(parameters: TreeParameters, rounds: int, seed: int) -> lgb.LGBMClassifier:
    """The same trees through LightGBM's other door, under scikit-learn's names."""
    return lgb.LGBMClassifier(
        n_estimators=rounds,
        learning_rate=parameters.learning_rate,
        num_leaves=parameters.leaves,
        min_child_samples=parameters.min_leaf,
        reg_lambda=parameters.leaf_penalty,
        colsample_bytree=parameters.column_share,
        subsample=parameters.row_share,
        subsample_freq=1,
        random_state=seed,
        max_bin=63,
        deterministic=True,
        force_col_wise=True,
        n_jobs=1,
        verbose=-1,
    )


def held_losses(booster: lgb.Booster, validation: Task) -> np.ndarray:
    """(rounds,) weighted log loss of the first 1, 2, … trees on held-out rows."""
    losses = []
    for rounds in range(1, booster.current_iteration() + 1):
        score = booster.predict(validation.x, raw_score=True, num_iteration=rounds)
        losses.append(
            np.average(np.logaddexp(0, np.where(validation.target == 1, -score, score)), weights=validation.weight)
        )
    return np.array(losses)


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


# --- Trees


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("learning_rate", 0.0, "above 0"),
        ("leaves", 1, "2 or more"),
        ("min_leaf", 0, "1 or more"),
        ("leaf_penalty", -0.1, "0 or more"),
        ("column_share", 0.0, "a share above 0, at most 1"),
        ("column_share", 1.1, "a share above 0, at most 1"),
        ("row_share", 0.0, "a share above 0, at most 1"),
        ("row_share", 1.1, "a share above 0, at most 1"),
        ("threads", 0, "1 or more"),
    ],
)
def test_a_value_out_of_bounds_is_refused(key, value, expected):
    assert complaint(lambda: TreeParameters(**{key: value})) == f"{key} = {value}: expected {expected}."


def test_every_bound_is_told_at_once_and_none_is_forgotten():
    least = {f.name: -1 for f in fields(TreeParameters)}
    message = complaint(lambda: TreeParameters(**least))
    assert all(f"{name} = -1" in message for name in least)


def test_the_edges_of_the_bounds_are_allowed():
    edge = TreeParameters(leaves=2, min_leaf=1, leaf_penalty=0.0, column_share=1.0, row_share=1.0)
    assert fit_booster(some_task(), edge, 3, seed=0).num_trees() == 3


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", [0, 7])
def test_grown_trees_are_those_of_lightgbm_called_directly(classes, seed):
    task, fresh = some_task(classes=classes), some_task(50, seed=9).x
    booster = fit_booster(task, QUICK, 25, seed, classes)
    other = directly(QUICK, 25, seed).fit(task.x, task.target, sample_weight=task.weight)
    assert np.array_equal(booster.predict(fresh, raw_score=True), other.predict(fresh, raw_score=True))


def test_weights_reach_the_trees():
    task = some_task()
    plain = fit_booster(task._replace(weight=np.ones(300)), QUICK, 20, seed=0)
    assert not np.allclose(plain.predict(task.x), fit_booster(task, QUICK, 20, seed=0).predict(task.x))


@pytest.mark.parametrize(("seed", "patience"), [(0, 15), (0, 4), (3, 15), (5, 1)])
def test_early_stopping_keeps_the_rounds_with_the_lowest_validation_loss(seed, patience):
    task, validation = some_task(), some_task(200, seed=1)
    unstopped = fit_booster(task, QUICK, 200, seed)
    losses = held_losses(unstopped, validation)
    # The rule by hand: the first round after which none of the next `patience` is better.
    best = next(i for i in range(200) if losses[i] == losses[: i + 1].min() <= losses[i : i + 1 + patience].min())
    booster = fit_booster(task, QUICK, 200, seed, validation=validation, patience=patience)
    assert booster.best_iteration == best + 1 < 150
    # Asked, counted and saved are the trees up to there alone, and early stopping has changed none of them.
    expected = unstopped.predict(validation.x, raw_score=True, num_iteration=best + 1)
    kept = lgb.Booster(model_str=booster.model_to_string())
    for each in (booster, kept):
        assert np.array_equal(booster_logits([each], validation.x)[:, 0], expected)
        assert each.num_trees() == best + 1
    assert leaf_count([booster]) == leaf_count([fit_booster(task, QUICK, best + 1, seed)])


def test_held_out_rows_count_by_their_weight():
    """Half of the held-out rows say the contrary; who is heard is a matter of weight."""
    task, validation = some_task(), some_task(400, seed=1, weighted=False)
    contrary = np.arange(400) < 200
    turned = np.where(contrary, 1 - validation.target, validation.target)
    rounds = {}
    for weight in (1e-6, 1.0):
        told = Task(validation.x, turned, np.where(contrary, weight, 1.0))
        rounds[weight] = fit_booster(task, QUICK, 100, seed=0, validation=told, patience=20).best_iteration
    alone = Task(validation.x[~contrary], turned[~contrary], np.ones(200))
    assert rounds[1e-6] == fit_booster(task, QUICK, 100, seed=0, validation=alone, patience=20).best_iteration
    assert rounds[1.0] < rounds[1e-6]


def test_early_stopping_takes_every_round_if_the_loss_falls_to_the_end():
    task = some_task()
    booster = fit_booster(task, QUICK, 8, seed=0, validation=task, patience=5)
    assert booster.best_iteration == booster.num_trees() == 8


def test_logits_are_the_mean_over_boosters():
    task, fresh = some_task(), some_task(20, seed=4).x
    boosters = [fit_booster(task, QUICK, 10, seed) for seed in range(3)]
    mean = sum(booster.predict(fresh, raw_score=True) for booster in boosters) / 3
    assert booster_logits(boosters, fresh) == pytest.approx(mean[:, None], abs=1e-12)
    assert booster_logits(boosters, fresh[:1]).shape == (1, 1)
    three = fit_booster(some_task(classes=3), QUICK, 5, seed=0, classes=3)
    assert booster_logits([three], fresh).shape == (20, 3)
    assert log_softmax(booster_logits([three], fresh)) == pytest.approx(np.log(three.predict(fresh)), abs=1e-12)


def test_a_class_that_does_not_occur_keeps_its_column():
    task = some_task(classes=3)
    poor = Task(task.x, np.where(task.target == 1, 2, task.target), task.weight)
    booster = fit_booster(poor, QUICK, 5, seed=0, classes=3)
    proba = np.exp(log_softmax(booster_logits([booster], task.x)))
    assert proba[:, 1].max() < 1e-6


def test_any_number_of_threads_gives_the_same_trees():
    task = some_task()
    one, two = (fit_booster(task, TreeParameters(**(vars(QUICK) | {"threads": n})), 10, seed=0) for n in (1, 2))
    assert np.array_equal(booster_logits([one], task.x), booster_logits([two], task.x, threads=2))


def test_leaves_are_counted():
    boosters = [fit_booster(some_task(), QUICK, 6, seed) for seed in range(2)]
    assert leaf_count(boosters) == sum(b.trees_to_dataframe()["split_feature"].isna().sum() for b in boosters)
    assert leaf_count([]) == 0


# --- Tasks and lines


@pytest.fixture
def three() -> Battles:
    return plain_battles(("p", "x", "y"), ("q", "x", "y"), ("r", "x", "y"), winner=[0, 1, 2])


def test_what_heads_learn_of_a_win_a_loss_and_a_tie(three: Battles):
    """One column, 1 to 3, that a swap turns round; the weights are 10, 20 and 30."""
    battles = type(three)(**(vars(three) | {"weight": np.array([10.0, 20.0, 30.0])}))
    x = np.array([[1.0], [2.0], [3.0]])
    rows = {
        task: [(float(row[0]), int(t), float(w)) for row, t, w in zip(*learned, strict=True)]
        for task, learned in (
            ("tie", tie_task(x, battles)),
            ("margin", margin_task(x, -x, battles)),
            ("outcome", outcome_task(x, -x, battles)),
        )
    }
    assert rows["tie"] == [(1, 0, 10), (2, 0, 20), (3, 1, 30)]
    assert rows["margin"] == [(1, 1, 10), (2, 0, 20), (-1, 0, 10), (-2, 1, 20)]
    assert rows["outcome"] == [(1, 0, 10), (2, 1, 20), (3, 2, 30), (-1, 1, 10), (-2, 0, 20), (-3, 2, 30)]


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_an_outcome_without_battles_is_given_one_average_battle(three: Battles, winner: int):
    battles = type(three)(**(vars(three) | {"winner": np.full(3, winner)}))
    x = np.array([[1.0], [2.0], [6.0]])
    for task, classes in (
        (tie_task(x, battles), 2),
        (margin_task(x, -x, battles), 2),
        (outcome_task(x, -x, battles), 3),
    ):
        assert set(task.target.tolist()) == set(range(classes))
        assert len({len(part) for part in task}) == 1
    tie = tie_task(x, battles)
    assert (tie.x[-1, 0], tie.target[-1], tie.weight[-1]) == (3.0, int(winner != 2), 1.0)


@pytest.mark.parametrize(("classes", "odd"), [(2, False), (2, True), (3, False)])
def test_a_weight_of_2_is_the_row_twice_to_a_line(classes: int, odd: bool):
    task = some_task(80, classes=classes, weighted=False)
    doubled = np.arange(80) % 3 == 0
    twice = Task(*(np.concatenate([part, part[doubled]]) for part in task))
    weighed = task._replace(weight=np.where(doubled, 2.0, 1.0))
    one, other = (fit_linear_head(each, 3.0, 2.5, odd) for each in (weighed, twice))
    assert one.logits(task.x) == pytest.approx(other.logits(task.x), abs=1e-4)
    assert np.abs(one.logits(task.x) - fit_linear_head(task, 3.0, 2.5, odd).logits(task.x)).max() > 1e-3


def test_log_probabilities_of_logits_are_right_however_large():
    logits = np.random.default_rng(0).normal(size=(40, 3)) * np.logspace(-2, 4, 40)[:, None]
    assert log_softmax(logits) == pytest.approx(logits - logsumexp(logits, axis=1, keepdims=True), rel=1e-12)
    two = np.stack([np.zeros(40), logits[:, 0]], axis=1)
    assert np.exp(log_softmax(two))[:, 1] == pytest.approx(expit(logits[:, 0]), abs=1e-15)
    assert log_softmax(np.empty((0, 3))).shape == (0, 3)


# --- In steps


@pytest.mark.parametrize("classes", [2, 3])
def test_trees_grown_in_steps_are_those_grown_at_once_and_lightgbms_own(classes):
    task = some_task(classes=classes)
    at_once = fit_booster(task, QUICK, 24, seed=3, classes=classes)
    booster, other = (new_booster(task, QUICK, seed, classes) for seed in (3, 4))
    for count in (6, 0, 11, 7):
        add_trees(other, 5)  # what grows beside it does not matter
        add_trees(booster, count)
    steps = detach(booster)
    assert at_once.model_to_string() == steps.model_to_string()
    assert at_once.num_trees() == 24 * (classes if classes > 2 else 1)
    own = directly(QUICK, 24, 3).fit(task.x, task.target, sample_weight=task.weight)
    mine = steps.predict(task.x)
    theirs = own.predict_proba(task.x)
    assert (mine if classes > 2 else np.stack([1 - mine, mine], 1)) == pytest.approx(theirs, abs=1e-12)


def test_many_distinct_values_are_binned_alike_in_steps_and_at_once():
    rng = np.random.default_rng(0)
    task = Task(rng.normal(size=(2000, 3)), rng.integers(0, 2, 2000), np.ones(2000))
    booster = new_booster(task, QUICK, 0)
    add_trees(booster, 10)
    own = directly(QUICK, 10, 0).fit(task.x, task.target, sample_weight=task.weight)
    assert booster.predict(task.x) == pytest.approx(own.predict_proba(task.x)[:, 1], abs=1e-12)
