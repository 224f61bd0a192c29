"""Boosted trees for one head, grown until held-out prompts stop gaining from them."""

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError, bounds_complaints
from pairrank.models.heads.linear import Task


@dataclass(frozen=True)
class Growth:
    """How LightGBM grows trees. The defaults are those of few battles and weak columns."""

    learning_rate: float = 0.02
    """The share of each tree's answer that is kept."""
    leaves: int = 4
    """Leaves of a tree."""
    min_leaf: int = 40
    """Fewest battles in a leaf."""
    leaf_penalty: float = 10.0
    """L2 penalty on a leaf's value."""
    column_share: float = 0.3
    """The share of columns that each tree sees."""
    row_share: float = 0.6
    """The share of battles that each tree sees."""
    threads: int = 1
    """Threads of LightGBM: the answer is the same with any number; more than the free cores are far slower."""

    def __post_init__(self) -> None:
        bounds = {
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "leaves": (self.leaves >= 2, "2 or more"),
            "min_leaf": (self.min_leaf >= 1, "1 or more"),
            "leaf_penalty": (self.leaf_penalty >= 0, "0 or more"),
            "column_share": (0 < self.column_share <= 1, "a share above 0, at most 1"),
            "row_share": (0 < self.row_share <= 1, "a share above 0, at most 1"),
            "threads": (self.threads >= 1, "1 or more"),
        }
        wrong = bounds_complaints(self, bounds)
        if wrong:
            raise UserError(" ".join(wrong))


def grow(
    task: Task,
    growth: Growth,
    rounds: int,
    seed: int,
    classes: int = 2,
    watch: Task | None = None,
    patience: int = 50,
) -> lgb.Booster:
    """A booster of `rounds` trees; with `watch`, of as many as held-out rows gained from, `patience` more tried."""
    if watch is None:
        booster = plant(task, growth, seed, classes)
        add_trees(booster, rounds)
        return grown(booster)
    data = lgb.Dataset(task.x, task.target, weight=task.weight)
    held = lgb.Dataset(watch.x, watch.target, weight=watch.weight, reference=data)
    stop = lgb.early_stopping(patience, verbose=False)
    return lgb.train(_settings(growth, seed, classes), data, rounds, valid_sets=[held], callbacks=[stop])


def plant(task: Task, growth: Growth, seed: int, classes: int = 2) -> lgb.Booster:
    """A booster without trees, which `add_trees` grows: at once or in several steps, the trees are the same.

    Classes are given as numbers, so the columns of three classes are A, B, tie whichever of them occur.
    """
    settings = _settings(growth, seed, classes)
    # Told to the data set too: how values are binned is settled there.
    return lgb.Booster(settings, lgb.Dataset(task.x, task.target, weight=task.weight, params=settings))


def add_trees(booster: lgb.Booster, count: int) -> None:
    """Let a planted booster grow by so many trees."""
    for _ in range(count):
        booster.update()


def grown(booster: lgb.Booster) -> lgb.Booster:
    """The trees alone, without the rows they were grown on."""
    return lgb.Booster(model_str=booster.model_to_string())


def _settings(growth: Growth, seed: int, classes: int) -> dict[str, Any]:
    """LightGBM's own names for all that."""
    return {
        "objective": "multiclass" if classes > 2 else "binary",
        "num_class": classes if classes > 2 else 1,
        "learning_rate": growth.learning_rate,
        "num_leaves": growth.leaves,
        "min_data_in_leaf": growth.min_leaf,
        "lambda_l2": growth.leaf_penalty,
        "feature_fraction": growth.column_share,
        "bagging_fraction": growth.row_share,
        "bagging_freq": 1,
        "max_bin": 63,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": growth.threads,
        "verbose": -1,
        "seed": seed,
    }


def scores(boosters: list[lgb.Booster], x: FloatArray, threads: int = 1) -> FloatArray:
    """(n, k) logits, the mean over boosters; k is 1 for two classes."""
    raw = [np.asarray(booster.predict(x, raw_score=True, num_threads=threads)) for booster in boosters]
    mean: FloatArray = np.mean(raw, axis=0).reshape(len(x), -1)
    return mean


def leaf_count(boosters: list[lgb.Booster]) -> int:
    """How many numbers were fitted."""
    return sum(tree["num_leaves"] for booster in boosters for tree in booster.dump_model()["tree_info"])
