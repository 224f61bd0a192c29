"""Counted features without an encoder: what both answers share predicts a tie, how they differ the winner."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import lightgbm as lgb
import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import SWAP, FloatArray, Proba, from_logs, log_outcomes, log_softmax
from pairrank.errors import UserError, bounds_complaints
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import Features
from pairrank.features.groups import DEFAULT_GROUPS, group_complaints
from pairrank.files import write_json
from pairrank.models.base import Model, Progress, register, require_battles
from pairrank.models.heads.language_model import (
    battle_columns,
    find_language_model,
    language_model_report,
    load_language_model,
    save_language_model,
)
from pairrank.models.heads.linear import (
    HeadName,
    LinearHead,
    Task,
    fit_linear_head,
    margin_task,
    outcome_task,
    tie_task,
)
from pairrank.models.heads.trees import (
    TreeParameters,
    add_trees_in_parallel,
    booster_logits,
    detach,
    leaf_count,
    load_boosters,
    new_boosters,
    save_boosters,
)
from pairrank.progress import with_progress
from pairrank.training.monitor import Monitor

Learner = Literal["logistic", "lightgbm"]

QUARTERS = 4
"""Parts of the rounds after which the loss is reported.

Single rounds would mislead a search: a slow learner with many rounds is behind a fast one after the first hundred
and may still be better in the end.
"""


@register("structure")
@dataclass
class Structure(Model):
    """A logistic model and boosted trees over counted features, pooled with equal weights.

    Two heads: P(tie) from the even features of all battles, and P(A wins | not a tie) from the odd features of the
    decided battles in both orders. They are the tie logit and the margin of the difference head, fitted separately.
    """

    learner: Literal["both", "logistic", "lightgbm"] = "both"
    """One learner, or the geometric mean of both."""
    groups: tuple[str, ...] = DEFAULT_GROUPS
    """Groups of features. Markdown and punctuation ("style") made both learners worse."""
    likelihood: list[str] = field(default_factory=list)
    """Language models in order of preference; log-probabilities of the answers become columns. [] for none."""
    decompose: bool = True
    """Fit the two heads. False: one model of three classes over all features, fitted and applied in both orders."""
    penalty: float = 100.0
    """L2 penalty of the logistic model on standardised features; fewer battles need more."""
    clip: float = 3.0
    """Bound of each standardised feature of the logistic model, in standard deviations."""
    rounds: int = 300
    """Boosting rounds of the margin, or of the model of three classes."""
    tie_rounds: int = 200
    """Boosting rounds of the tie head, which has less to learn."""
    trees: TreeParameters = field(default_factory=TreeParameters)
    """Hyperparameters of the boosted trees."""
    seeds: int = 5
    """Boosters per head, each with its own seed; their logits are averaged."""
    seed: int = 0
    """The first of these seeds."""

    progress: ClassVar[Progress] = "quarters of its rounds"
    renamed: ClassVar[Mapping[str, str]] = {each.name: f"trees.{each.name}" for each in fields(TreeParameters)}
    symmetric: ClassVar[bool] = True
    """Margins are odd and tie logits even by construction; three classes are averaged over both orders."""

    def __post_init__(self) -> None:
        bounds = {
            "penalty": (self.penalty > 0, "a number above 0"),
            "clip": (self.clip > 0, "a number above 0"),
            "rounds": (self.rounds >= 1, "1 or more"),
            "tie_rounds": (self.tie_rounds >= 1, "1 or more"),
            "seeds": (self.seeds >= 1, "1 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        complaints = group_complaints(self.groups, needs_sides=not self.likelihood) + bounds_complaints(
            self, bounds
        )
        if complaints:
            raise UserError(" ".join(complaints))

    @property
    def heads(self) -> tuple[HeadName, ...]:
        """The heads that are fitted."""
        return ("tie", "margin") if self.decompose else ("outcome",)

    @property
    def learners(self) -> tuple[Learner, ...]:
        """The learners whose predictions are pooled."""
        return ("logistic", "lightgbm") if self.learner == "both" else (self.learner,)

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Fit every head with every learner; an outcome without battles gets one battle of mean features.

        `monitor` receives the log loss after each quarter of the rounds of all heads and seeds.
        """
        require_battles(train)
        self.language_model_ = find_language_model(self.likelihood)
        counted = battle_columns(train, self.groups, self.language_model_)
        self.linear_: dict[str, LinearHead] = {}
        self.boosters_: dict[HeadName, list[lgb.Booster]] = {}
        for head in self.heads:
            for learner in self.learners:
                task = _task(head, learner, counted, train)
                if learner == "logistic":
                    self.linear_[head] = fit_linear_head(task, self.penalty, self.clip, odd=head == "margin")
                else:
                    seeds = range(self.seed, self.seed + self.seeds)
                    classes = 3 if head == "outcome" else 2
                    self.boosters_[head] = new_boosters(task, self.trees, seeds, classes)
        for quarter in with_progress(range(1, QUARTERS + 1), "structure, quarters of the trees"):
            self._train_quarter(quarter)
            # The logistic model has no steps, so without trees there is only a final loss.
            if monitor is not None and (self.boosters_ or quarter == QUARTERS):
                monitor.report(quarter, log_loss(self.predict_proba(monitor.battles), monitor.battles.labels))
        self.boosters_ = {head: list(map(detach, boosters)) for head, boosters in self.boosters_.items()}
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities, the geometric mean over the learners."""
        if len(battles) == 0:
            return np.empty((0, 3))
        counted = battle_columns(battles, self.groups, self.language_model_)
        logs = [self._log_proba(learner, counted) for learner in self.learners]
        return from_logs(np.mean(logs, axis=0))

    def save(self, folder: Path) -> None:
        """Write logistic.json, one LightGBM text file per head and seed, and the hash of a language model."""
        save_language_model(self.language_model_, folder)
        write_json(folder / "logistic.json", {head: asdict(fitted) for head, fitted in self.linear_.items()})
        save_boosters(folder, self.boosters_)

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the language model has changed since."""
        self.language_model_ = load_language_model(self.likelihood, folder)
        saved = json.loads((folder / "logistic.json").read_text(encoding="utf-8"))
        self.linear_ = {head: LinearHead(**values) for head, values in saved.items()}
        self.boosters_ = load_boosters(folder, self.heads, self.seeds) if "lightgbm" in self.learners else {}
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters: coefficients of the logistic model and leaves of the trees."""
        coefficients = sum(fitted.size for fitted in self.linear_.values())
        boosters = [booster for each in self.boosters_.values() for booster in each]
        return {"parameters": coefficients + leaf_count(boosters)} | language_model_report(self.language_model_)

    def _train_quarter(self, quarter: int) -> None:
        """Add the trees of one quarter of the rounds (1 to 4) to all boosters."""
        new: list[tuple[lgb.Booster, int]] = []
        for head, boosters in self.boosters_.items():
            rounds = self.tie_rounds if head == "tie" else self.rounds
            before, now = (rounds * done // QUARTERS for done in (quarter - 1, quarter))
            new += [(booster, now - before) for booster in boosters]
        add_trees_in_parallel(new, self.trees.threads)

    def _log_proba(self, learner: Learner, counted: Features) -> FloatArray:
        """Return the (n, 3) log-probabilities of one learner."""
        swapped = counted.swap()
        if not self.decompose:
            straight, turned = (log_softmax(self._logits("outcome", learner, each)) for each in (counted, swapped))
            return (straight + turned[:, SWAP]) / 2
        # The tie head reads even features only, which a swap does not change.
        tie = self._logits("tie", learner, counted)[:, 0]
        straight, turned = (self._logits("margin", learner, each)[:, 0] for each in (counted, swapped))
        return log_outcomes(tie, (straight - turned) / 2)

    def _logits(self, head: HeadName, learner: Learner, counted: Features) -> FloatArray:
        """Return the (n, 1) logits of a head, or (n, 3) of three classes."""
        x = _columns(head, learner, counted)
        if learner == "logistic":
            return self.linear_[head].logits(x)
        return booster_logits(self.boosters_[head], x, self.trees.threads)


def _columns(head: HeadName, learner: Learner, counted: Features) -> FloatArray:
    """Return the (n, p) features that a head reads.

    A tie does not depend on odd features. A linear margin does not read even ones, whose weights would be 0.
    """
    if head == "tie":
        return counted.even
    if head == "margin" and learner == "logistic":
        return counted.odd
    return np.hstack([counted.odd, counted.even])


def _task(head: HeadName, learner: Learner, counted: Features, train: Battles) -> Task:
    """Return the training rows of a head."""
    straight = _columns(head, learner, counted)
    if head == "tie":
        return tie_task(straight, train)
    swapped = _columns(head, learner, counted.swap())
    return (margin_task if head == "margin" else outcome_task)(straight, swapped, train)
