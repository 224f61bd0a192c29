"""A tie is told by what two answers share, a winner by how they differ: counted features, no encoder."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import lightgbm as lgb
import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import SWAP, FloatArray, Proba, from_logs, log_outcomes, log_softmax
from pairrank.errors import UserError, bounds_complaints, unknown_name
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import GROUPS, Features, count_features
from pairrank.features.sides import SIDES
from pairrank.files import write_json, write_text
from pairrank.models.base import Model, Progress, register
from pairrank.models.heads.linear import Line, Task, fit_line, margin_task, outcome_task, tie_task
from pairrank.models.heads.trees import Growth, add_trees, grown, leaf_count, plant, scores
from pairrank.training.monitor import Monitor

Head = Literal["tie", "margin", "outcome"]
Learner = Literal["logistic", "lightgbm"]

QUARTERS = 4
"""Into so many parts the rounds are cut, for somebody who watches."""


@register("structure")
@dataclass
class Structure(Model):
    """A logistic model and boosted trees over counted features, pooled with equal weights.

    Two heads: P(tie) from the even features of all battles, P(A wins | not a tie) from the odd ones of the decided
    battles in both orders. They are the tie logit and the margin of the difference head, learned apart.
    """

    learner: Literal["both", "logistic", "lightgbm"] = "both"
    """Which learner, or the geometric mean of both."""
    groups: tuple[str, ...] = tuple(group for group in GROUPS if group != "style")
    """Which groups of features. Markdown and punctuation ("style") made both learners worse."""
    decompose: bool = True
    """Two heads; False: one model of three classes over all features, trained and asked in both orders."""
    penalty: float = 100.0
    """L2 penalty of the logistic model on standardised features; fewer battles want more."""
    clip: float = 3.0
    """Standard deviations at which a feature of the logistic model stops growing."""
    rounds: int = 300
    """Trees of the margin (and of the model of three classes)."""
    tie_rounds: int = 200
    """Trees of the tie head, where there is less to learn."""
    learning_rate: float = 0.02
    """The share of each tree's answer that is kept."""
    leaves: int = 4
    """Leaves of a tree."""
    min_leaf: int = 40
    """Fewest battles in a leaf."""
    leaf_penalty: float = 10.0
    """L2 penalty on a leaf's value."""
    column_share: float = 0.3
    """The share of features that each tree sees."""
    row_share: float = 0.6
    """The share of battles that each tree sees."""
    seeds: int = 5
    """How many times the trees are grown; their logits are averaged."""
    seed: int = 0
    """The first of the seeds."""
    threads: int = 1
    """Threads of LightGBM: the answer is the same with any number; more than the free cores are far slower."""

    progress: ClassVar[Progress] = "quarters of its rounds"
    """Not single rounds: a slow learner of many rounds is no worse for being behind a fast one after a hundred."""
    symmetric: ClassVar[bool] = True
    """By construction: margins are odd, tie logits even, and three classes are averaged over both orders."""

    def __post_init__(self) -> None:
        wrong = [unknown_name("group of features", group, GROUPS) for group in self.groups if group not in GROUPS]
        if not set(self.groups) & set(SIDES):
            listed = ", ".join(SIDES)
            wrong.append(f"groups = {list(self.groups)}: they cannot tell A from B. Add one of {listed}.")
        bounds = {
            "penalty": (self.penalty > 0, "above 0"),
            "clip": (self.clip > 0, "above 0"),
            "rounds": (self.rounds >= 1, "1 or more"),
            "tie_rounds": (self.tie_rounds >= 1, "1 or more"),
            "seeds": (self.seeds >= 1, "1 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        wrong += bounds_complaints(self, bounds)
        try:
            _ = self.growth
        except UserError as error:
            wrong.append(str(error))
        if wrong:
            raise UserError(" ".join(wrong))

    @property
    def growth(self) -> Growth:
        """How the trees grow."""
        return Growth(**{f.name: getattr(self, f.name) for f in fields(Growth)})

    @property
    def heads(self) -> tuple[Head, ...]:
        """What is learned apart."""
        return ("tie", "margin") if self.decompose else ("outcome",)

    @property
    def learners(self) -> tuple[Learner, ...]:
        """What is pooled."""
        return ("logistic", "lightgbm") if self.learner == "both" else (self.learner,)

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn every head with every learner; an outcome without battles gets one battle of average features.

        `monitor` receives the log loss after each quarter of the rounds of all heads and seeds.
        """
        counted = count_features(train, self.groups)
        self.lines_: dict[str, Line] = {}
        self.trees_: dict[str, list[lgb.Booster]] = {}
        for head in self.heads:
            for learner in self.learners:
                task = _task(head, learner, counted, train)
                if learner == "logistic":
                    self.lines_[head] = fit_line(task, self.penalty, self.clip, odd=head == "margin")
                else:
                    seeds = range(self.seed, self.seed + self.seeds)
                    classes = 3 if head == "outcome" else 2
                    self.trees_[head] = [plant(task, self.growth, seed, classes) for seed in seeds]
        for quarter in range(1, QUARTERS + 1):
            self._grow(quarter)
            # Without trees there is nothing between the beginning and the end.
            if monitor is not None and (self.trees_ or quarter == QUARTERS):
                monitor.report(quarter, log_loss(self.predict_proba(monitor.battles), monitor.battles.labels))
        self.trees_ = {head: list(map(grown, boosters)) for head, boosters in self.trees_.items()}
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities: the geometric mean of the learners'."""
        if len(battles) == 0:
            return np.empty((0, 3))
        counted = count_features(battles, self.groups)
        logs = [self._log_proba(learner, counted) for learner in self.learners]
        return from_logs(np.mean(logs, axis=0))

    def save(self, folder: Path) -> None:
        """Write logistic.json, and one LightGBM text a head and seed."""
        write_json(folder / "logistic.json", {head: asdict(line) for head, line in self.lines_.items()})
        for head, boosters in self.trees_.items():
            for i, booster in enumerate(boosters):
                write_text(folder / f"{head}_{i}.txt", booster.model_to_string())

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        lines = json.loads((folder / "logistic.json").read_text(encoding="utf-8"))
        self.lines_ = {head: Line(**line) for head, line in lines.items()}
        self.trees_ = {}
        if "lightgbm" in self.learners:
            for head in self.heads:
                texts = [(folder / f"{head}_{i}.txt").read_text(encoding="utf-8") for i in range(self.seeds)]
                self.trees_[head] = [lgb.Booster(model_str=text) for text in texts]
        return self

    def report(self) -> dict[str, Any]:
        """Coefficients of the logistic model and leaves of the trees."""
        coefficients = sum(line.size for line in self.lines_.values())
        boosters = [booster for grown in self.trees_.values() for booster in grown]
        return {"parameters": coefficients + leaf_count(boosters)}

    def _grow(self, quarter: int) -> None:
        """All trees from those of the quarter before to those of this one."""
        for head, boosters in self.trees_.items():
            rounds = self.tie_rounds if head == "tie" else self.rounds
            before, now = (rounds * done // QUARTERS for done in (quarter - 1, quarter))
            for booster in boosters:
                add_trees(booster, now - before)

    def _log_proba(self, learner: Learner, counted: Features) -> FloatArray:
        """(n, 3) log-probabilities of one learner."""
        if not self.decompose:
            straight = self._outcome(learner, counted)
            back = self._outcome(learner, counted.swap())[:, SWAP]
            return (straight + back) / 2
        # The tie head looks at nothing odd, so it needs no second look.
        tie = self._scores("tie", learner, counted)[:, 0]
        straight, turned = (self._scores("margin", learner, f)[:, 0] for f in (counted, counted.swap()))
        margin = (straight - turned) / 2
        return log_outcomes(tie, margin)

    def _outcome(self, learner: Learner, counted: Features) -> FloatArray:
        """(n, 3) log-probabilities of the model of three classes, in one order."""
        return log_softmax(self._scores("outcome", learner, counted))

    def _scores(self, head: Head, learner: Learner, counted: Features) -> FloatArray:
        """(n, 1) logits of a head, (n, 3) of three classes."""
        x = _inputs(head, learner, counted)
        if learner == "logistic":
            return self.lines_[head].scores(x)
        return scores(self.trees_[head], x, self.threads)


def _inputs(head: Head, learner: Learner, counted: Features) -> FloatArray:
    """(n, p) what a head sees: ties nothing odd; a linear margin nothing even, where its weights would be 0."""
    if head == "tie":
        return counted.even
    if head == "margin" and learner == "logistic":
        return counted.odd
    return np.hstack([counted.odd, counted.even])


def _task(head: Head, learner: Learner, counted: Features, train: Battles) -> Task:
    """Inputs and classes of a head's training rows."""
    straight = _inputs(head, learner, counted)
    if head == "tie":
        return tie_task(straight, train)
    swapped = _inputs(head, learner, counted.swap())
    return (margin_task if head == "margin" else outcome_task)(straight, swapped, train)
