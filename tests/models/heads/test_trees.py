"""Boosters are LightGBM's own, use the weights, and stop where held-out rows stop gaining."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from threading import Barrier
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from pairrank.data.probabilities import log_softmax
from pairrank.errors import UserError
from pairrank.models.heads import trees
from pairrank.models.heads.linear import Task
from pairrank.models.heads.trees import (
    TreeParameters,
    add_trees,
    add_trees_in_parallel,
    booster_logits,
    detach,
    fit_booster,
    fit_boosters,
    leaf_count,
    new_booster,
    new_boosters,
)
from tests.support.tasks import some_task

QUICK = TreeParameters(learning_rate=0.2, leaves=4, min_leaf=5, leaf_penalty=3.0, column_share=0.5, row_share=0.7)


def directly(parameters: TreeParameters, rounds: int, seed: int) -> lgb.LGBMClassifier:
    """Return the same trees through LightGBM's scikit-learn interface."""
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
    """Return the (rounds,) weighted log losses of the first 1, 2, … trees on held-out rows."""
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
        ("learning_rate", 0.0, "a number above 0"),
        ("leaves", 1, "a number from 2 to 131,072"),
        ("leaves", 2**31, "a number from 2 to 131,072"),
        ("min_leaf", 0, "a number from 1 to 2,147,483,647"),
        ("leaf_penalty", -0.1, "0 or more"),
        ("column_share", 0.0, "a share above 0, at most 1"),
        ("column_share", 1.1, "a share above 0, at most 1"),
        ("row_share", 0.0, "a share above 0, at most 1"),
        ("row_share", 1.1, "a share above 0, at most 1"),
        ("threads", 0, "a number from 1 to 1,024"),
        ("threads", 99_999, "a number from 1 to 1,024"),
    ],
)
def test_a_value_out_of_bounds_is_refused(key, value, expected):
    assert complaint(lambda: TreeParameters(**{key: value})) == f"{key} = {value}: expected {expected}."


def test_all_bounds_are_checked_and_reported_at_once():
    least = {f.name: -1 for f in fields(TreeParameters)}
    message = complaint(lambda: TreeParameters(**least))
    assert all(f"{name} = -1" in message for name in least)


def test_the_edges_of_the_bounds_are_allowed():
    edge = TreeParameters(leaves=2, min_leaf=1, leaf_penalty=0.0, column_share=1.0, row_share=1.0)
    assert fit_booster(some_task(), edge, 3, seed=0).num_trees() == 3


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", [0, 7])
def test_boosters_equal_those_of_lightgbm_called_directly(classes, seed):
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
    # Only the trees up to there are used, counted and saved, and early stopping has changed none of them.
    expected = unstopped.predict(validation.x, raw_score=True, num_iteration=best + 1)
    kept = lgb.Booster(model_str=booster.model_to_string())
    for each in (booster, kept):
        assert np.array_equal(booster_logits([each], validation.x)[:, 0], expected)
        assert each.num_trees() == best + 1
    assert leaf_count([booster]) == leaf_count([fit_booster(task, QUICK, best + 1, seed)])


def test_held_out_rows_count_by_their_weight():
    """Half of the held-out rows have the opposite class; their weight decides whether they count."""
    task, validation = some_task(), some_task(400, seed=1, weighted=False)
    contrary = np.arange(400) < 200
    turned = np.where(contrary, 1 - validation.target, validation.target)
    rounds = {}
    for weight in (1e-6, 1.0):
        mixed = Task(validation.x, turned, np.where(contrary, weight, 1.0))
        rounds[weight] = fit_booster(task, QUICK, 100, seed=0, validation=mixed, patience=20).best_iteration
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


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of workers of every pool of threads that is made; four cores are usable."""
    made: list[int] = []

    def pool(workers: int, **options: Any) -> ThreadPoolExecutor:
        made.append(workers)
        return ThreadPoolExecutor(workers, **options)

    monkeypatch.setattr(trees, "usable_threads", lambda: 4)
    monkeypatch.setattr(trees, "ThreadPoolExecutor", pool)
    return made


def test_boosters_that_predict_at_the_same_time_give_the_same_logits(
    monkeypatch: pytest.MonkeyPatch, pools: list[int]
):
    task, fresh = some_task(), some_task(40, seed=4).x
    boosters = [fit_booster(task, QUICK, 10, seed) for seed in range(3)]
    one_by_one = booster_logits(boosters, fresh)
    assert pools == []
    monkeypatch.setattr(trees, "PARALLEL", 40)
    for threads, workers in ((1, 3), (2, 2), (4, None)):
        assert np.array_equal(booster_logits(boosters, fresh, threads), one_by_one)
        assert pools == ([] if workers is None else [workers])
        pools.clear()


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


@pytest.mark.parametrize(("threads", "workers"), [(1, 4), (2, 2), (4, None)])
@pytest.mark.parametrize("validated", [False, True])
def test_boosters_that_are_fitted_at_the_same_time_are_those_fitted_alone(
    pools: list[int], capfd, validated: bool, threads: int, workers: int | None
):
    task, validation = some_task(), some_task(400, seed=1) if validated else None
    parameters = replace(QUICK, threads=threads)
    alone = [fit_booster(task, parameters, 60, seed, validation=validation, patience=5) for seed in range(5)]
    together = fit_boosters(task, parameters, 60, range(5), validation, patience=5)
    assert [each.model_to_string() for each in together] == [each.model_to_string() for each in alone]
    assert [each.best_iteration for each in together] == [each.best_iteration for each in alone]
    assert pools == ([] if workers is None else [workers])
    assert "LightGBM" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.usefixtures("pools")
def test_an_interrupt_ends_the_boosters_that_are_being_fitted(monkeypatch: pytest.MonkeyPatch, validated: bool):
    """One booster fails while the others would have trees for hours; all of them end, and nothing is waited for."""
    task, validation = some_task(), some_task(400, seed=1) if validated else None
    fit, begun = trees.fit_booster, Barrier(2)

    def failing(task: Task, parameters: TreeParameters, rounds: int, seed: int, **options: Any) -> Any:
        begun.wait(60)
        if seed == 0:
            raise KeyboardInterrupt
        return fit(task, parameters, rounds, seed, **options)

    monkeypatch.setattr(trees, "fit_booster", failing)
    with pytest.raises(KeyboardInterrupt):
        fit_boosters(task, QUICK, 10**7, range(2), validation, patience=10**7)


@pytest.mark.usefixtures("pools")
def test_threads_of_their_own_leave_lightgbm_its_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    """LightGBM keeps the number for the whole process; with -1, every booster would use all cores."""
    number = ctypes.c_int.in_dll(lgb.basic._LIB, "LGBM_DEFAULT_NUM_THREADS")
    monkeypatch.setattr(trees, "PARALLEL", 1)
    for threads in (1, 2):
        parameters, seen = replace(QUICK, threads=threads), []
        boosters = new_boosters(some_task(), parameters, range(3))
        monkeypatch.setattr(trees, "add_trees", lambda *_, seen=seen: seen.append(number.value))
        add_trees_in_parallel([(booster, 2) for booster in boosters], threads)
        assert seen == [threads] * 3


# --- In steps


@pytest.mark.parametrize("classes", [2, 3])
def test_training_in_steps_gives_the_trees_of_one_step_and_of_lightgbm(classes):
    task = some_task(classes=classes)
    at_once = fit_booster(task, QUICK, 24, seed=3, classes=classes)
    booster, other = (new_booster(task, QUICK, seed, classes) for seed in (3, 4))
    for count in (6, 0, 11, 7):
        add_trees(other, 5)  # training another booster meanwhile does not matter
        add_trees(booster, count)
    steps = detach(booster)
    assert at_once.model_to_string() == steps.model_to_string()
    assert at_once.num_trees() == 24 * (classes if classes > 2 else 1)
    own = directly(QUICK, 24, 3).fit(task.x, task.target, sample_weight=task.weight)
    mine = steps.predict(task.x)
    theirs = own.predict_proba(task.x)
    assert (mine if classes > 2 else np.stack([1 - mine, mine], 1)) == pytest.approx(theirs, abs=1e-12)


def test_many_distinct_values_are_binned_the_same_in_steps_and_at_once():
    rng = np.random.default_rng(0)
    task = Task(rng.normal(size=(2000, 3)), rng.integers(0, 2, 2000), np.ones(2000))
    booster = new_booster(task, QUICK, 0)
    add_trees(booster, 10)
    own = directly(QUICK, 10, 0).fit(task.x, task.target, sample_weight=task.weight)
    assert booster.predict(task.x) == pytest.approx(own.predict_proba(task.x)[:, 1], abs=1e-12)


# --- In parallel


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_boosters_that_share_their_rows_and_are_trained_in_parallel_have_the_trees_of_single_ones(
    threads, monkeypatch, capfd
):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr("pairrank.cores.usable_cores", lambda: 3)
    task, seeds = some_task(), range(3, 8)
    boosters = new_boosters(task, QUICK, seeds)
    for counts in ([4, 0, 9, 2, 7], [5, 9, 0, 7, 2]):
        add_trees_in_parallel(list(zip(boosters, counts, strict=True)))
    alone = [fit_booster(task, QUICK, 9, seed).model_to_string() for seed in seeds]
    assert [detach(booster).model_to_string() for booster in boosters] == alone
    assert len(set(alone)) == len(seeds)
    assert "LightGBM" not in "".join(capfd.readouterr())


def test_the_boosters_with_the_most_trees_begin_first(monkeypatch: pytest.MonkeyPatch):
    counts: list[int] = []
    monkeypatch.setattr(trees, "usable_threads", lambda: 1)
    monkeypatch.setattr(trees, "add_trees", lambda booster, count, stop: counts.append(count))
    add_trees_in_parallel(list(zip(new_boosters(some_task(), QUICK, range(4)), [2, 5, 0, 3], strict=True)))
    assert counts == [5, 3, 2, 0]


def test_no_boosters_need_no_threads():
    add_trees_in_parallel([])
