"""Boosted trees of LightGBM that predict one target, with a fixed number of rounds or stopped by held-out rows."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import lightgbm as lgb
import numpy as np

from pairrank.cores import usable_threads
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError, bounds_complaints
from pairrank.files import write_text
from pairrank.models.heads.linear import HeadName, Task

PARALLEL = 1_000
"""Rows from which boosters predict at the same time."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class TreeParameters:
    """Hyperparameters of LightGBM. The defaults suit a few thousand battles and weak features."""

    learning_rate: float = 0.02
    """Factor on the output of each tree; a smaller one needs more rounds."""
    leaves: int = 4
    """Leaves per tree."""
    min_leaf: int = 40
    """Minimum number of battles per leaf."""
    leaf_penalty: float = 10.0
    """L2 penalty on the values of the leaves."""
    column_share: float = 0.3
    """Share of the features that each tree may use."""
    row_share: float = 0.6
    """Share of the battles that each tree is fitted to."""
    threads: int = 1
    """Threads of one booster; as many boosters as then fit the cores are trained at a time. The result is the same
    for any number."""

    def __post_init__(self) -> None:
        bounds = {
            "learning_rate": (self.learning_rate > 0, "a number above 0"),
            "leaves": (2 <= self.leaves <= 131_072, "a number from 2 to 131,072"),
            "min_leaf": (1 <= self.min_leaf < 2**31, "a number from 1 to 2,147,483,647"),
            "leaf_penalty": (self.leaf_penalty >= 0, "0 or more"),
            "column_share": (0 < self.column_share <= 1, "a share above 0, at most 1"),
            "row_share": (0 < self.row_share <= 1, "a share above 0, at most 1"),
            "threads": (1 <= self.threads <= 1024, "a number from 1 to 1,024"),
        }
        complaints = bounds_complaints(self, bounds)
        if complaints:
            raise UserError(" ".join(complaints))


def fit_booster(
    task: Task,
    parameters: TreeParameters,
    rounds: int,
    seed: int,
    classes: int = 2,
    validation: Task | None = None,
    patience: int = 50,
    stop: Event | None = None,
) -> lgb.Booster:
    """Fit a booster of `rounds` trees, or of fewer with early stopping on `validation`.

    Early stopping ends after `patience` rounds without a lower loss on `validation`; `best_iteration` of the result
    is then the number of trees with the lowest loss, which is also what predictions use. Once `stop` is set, no
    tree is added, and the result is of no use.
    """
    if validation is None:
        booster = new_booster(task, parameters, seed, classes)
        add_trees(booster, rounds, stop)
        return detach(booster)
    data = lgb.Dataset(task.x, task.target, weight=task.weight)
    held_out = lgb.Dataset(validation.x, validation.target, weight=validation.weight, reference=data)
    callbacks: list[Callable[..., Any]] = [lgb.early_stopping(patience, verbose=False)]
    if stop is not None:
        callbacks.append(partial(_raise_if_stopped, stop))
    settings = _lightgbm_settings(parameters, seed, classes)
    return lgb.train(settings, data, rounds, valid_sets=[held_out], callbacks=callbacks)


def _raise_if_stopped(stop: Event, _: Any) -> None:
    if stop.is_set():
        raise InterruptedError("the training was stopped")


def fit_boosters(
    task: Task,
    parameters: TreeParameters,
    rounds: int,
    seeds: Sequence[int],
    validation: Task | None = None,
    patience: int = 50,
) -> list[lgb.Booster]:
    """Return the booster of `fit_booster` for each seed, fitted on all usable cores."""

    def fit(stop: Event, seed: int) -> lgb.Booster:
        return fit_booster(task, parameters, rounds, seed, validation=validation, patience=patience, stop=stop)

    return _in_parallel(fit, seeds, parameters.threads)


def new_booster(task: Task, parameters: TreeParameters, seed: int, classes: int = 2) -> lgb.Booster:
    """Return a booster without trees; `add_trees` gives the same trees in one step or in several.

    `classes` fixes the number of outputs, so that three outcomes have their columns in the order A, B, tie even
    where one of them does not occur.
    """
    return new_boosters(task, parameters, [seed], classes)[0]


def new_boosters(
    task: Task, parameters: TreeParameters, seeds: Sequence[int], classes: int = 2
) -> list[lgb.Booster]:
    """Return a booster without trees for each seed, as `new_booster` does; they share the binned rows."""
    settings = [_lightgbm_settings(parameters, seed, classes) for seed in seeds]
    # The data set needs the settings as well: it decides how values are binned.
    rows = lgb.Dataset(task.x, task.target, weight=task.weight, params=settings[0])
    return [lgb.Booster(each, rows) for each in settings]


def add_trees(booster: lgb.Booster, rounds: int, stop: Event | None = None) -> None:
    """Add `rounds` more trees to a booster of `new_booster`, or fewer once `stop` is set."""
    for _ in range(rounds):
        if stop is not None and stop.is_set():
            return
        booster.update()


def add_trees_in_parallel(rounds: Sequence[tuple[lgb.Booster, int]], threads: int = 1) -> None:
    """Add a number of trees to each booster, to as many boosters at a time as there are usable cores.

    `threads` is the number of threads that each booster uses. Boosters do not affect each other, so the trees are
    those of `add_trees`.
    """
    # The most trees first, so that no core waits for a long booster that was begun last.
    longest_first = sorted(rounds, key=lambda each: -each[1])
    _in_parallel(lambda stop, each: add_trees(*each, stop), longest_first, threads)


def _in_parallel(work: Callable[[Event, T], R], items: Sequence[T], threads: int) -> list[R]:
    """Return `work(stop, item)` for each item; there are as many at a time as cores, of which each uses `threads`.

    An interrupt or an error sets `stop`, by which the work of the other threads ends early.
    """
    stop = Event()
    workers = min(len(items), usable_threads() // threads)
    if workers < 2:
        return [work(stop, item) for item in items]
    with ThreadPoolExecutor(workers, initializer=_set_up_thread, initargs=(threads,)) as pool:
        try:
            return list(pool.map(partial(work, stop), items))
        finally:
            stop.set()


def _set_up_thread(threads: int) -> None:
    """Set the level of LightGBM's messages, which it keeps for each thread, as `_lightgbm_settings` does.

    This sets the number of threads as well, which LightGBM keeps for the whole process.
    """
    lgb.Dataset(np.zeros((2, 1)), params={"verbose": -1, "num_threads": threads}).construct()


def detach(booster: lgb.Booster) -> lgb.Booster:
    """Return the trees alone, without the training rows."""
    return lgb.Booster(model_str=booster.model_to_string())


def _lightgbm_settings(parameters: TreeParameters, seed: int, classes: int) -> dict[str, Any]:
    """Return the parameters under LightGBM's names."""
    return {
        "objective": "multiclass" if classes > 2 else "binary",
        "num_class": classes if classes > 2 else 1,
        "learning_rate": parameters.learning_rate,
        "num_leaves": parameters.leaves,
        "min_data_in_leaf": parameters.min_leaf,
        "lambda_l2": parameters.leaf_penalty,
        "feature_fraction": parameters.column_share,
        "bagging_fraction": parameters.row_share,
        "bagging_freq": 1,
        "max_bin": 63,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": parameters.threads,
        "verbose": -1,
        "seed": seed,
        # Which rows the bins are estimated from. It is the same for all seeds, so that boosters can share the bins.
        "data_random_seed": 1,
    }


def booster_logits(boosters: list[lgb.Booster], x: FloatArray, threads: int = 1) -> FloatArray:
    """Return (n, k) logits, the mean over the boosters; k is 1 for two classes."""

    def logits(_: Event | None, booster: lgb.Booster) -> FloatArray:
        return np.asarray(booster.predict(x, raw_score=True, num_threads=threads))

    if len(x) < PARALLEL:
        raw = [logits(None, booster) for booster in boosters]
    else:
        raw = _in_parallel(logits, boosters, threads)
    mean: FloatArray = np.mean(raw, axis=0).reshape(len(x), -1)
    return mean


def save_boosters(folder: Path, boosters: Mapping[HeadName, Sequence[lgb.Booster]]) -> None:
    """Write the boosters of each head as HEAD_0.txt, HEAD_1.txt and so on, in LightGBM's text format."""
    for head, each in boosters.items():
        for i, booster in enumerate(each):
            write_text(folder / f"{head}_{i}.txt", booster.model_to_string())


def load_boosters(folder: Path, heads: Sequence[HeadName], count: int) -> dict[HeadName, list[lgb.Booster]]:
    """Read `count` boosters per head that `save_boosters` wrote."""
    texts = {
        head: [(folder / f"{head}_{i}.txt").read_text(encoding="utf-8") for i in range(count)] for head in heads
    }
    return {head: [lgb.Booster(model_str=text) for text in each] for head, each in texts.items()}


def leaf_count(boosters: list[lgb.Booster]) -> int:
    """Return how many leaf values the boosters have, which is their number of fitted parameters."""
    return sum(tree["num_leaves"] for booster in boosters for tree in booster.dump_model()["tree_info"])
