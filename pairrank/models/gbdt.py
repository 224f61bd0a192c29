"""A stack: boosted trees or a linear model over the predictions of other experiments and counted features."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import lightgbm as lgb
import numpy as np

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles
from pairrank.data.folds import hold_out
from pairrank.data.probabilities import (
    SWAP,
    Proba,
    from_logs,
    log_outcomes,
    log_softmax,
)
from pairrank.errors import UserError, bounds_complaints
from pairrank.features.counting import Features, concat
from pairrank.features.groups import DEFAULT_GROUPS, group_complaints
from pairrank.features.model_strengths import SALT, load_model_strengths
from pairrank.features.ratings import NO_NAMES
from pairrank.files import write_json
from pairrank.models.base import Model, UseOfInputs, register, require_battles
from pairrank.models.heads.importance import Importance, importance_rows, loss_increases, read_importances
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
    fit_linear_head,
    outcome_task,
)
from pairrank.models.heads.stack_columns import (
    Mask,
    all_columns,
    fit_strength_columns,
    head_task,
    input_columns,
    strength_columns,
    take_rows,
)
from pairrank.models.heads.trees import (
    TreeParameters,
    add_trees_in_parallel,
    booster_logits,
    detach,
    fit_boosters,
    leaf_count,
    load_boosters,
    new_boosters,
    save_boosters,
)
from pairrank.progress import with_progress
from pairrank.training.monitor import Monitor

HEADS: tuple[HeadName, ...] = ("tie", "margin")
"""The heads of the boosted trees."""
MOST_PERMUTED = 1_000
"""Held-out battles on which permutation importances are measured: each column needs predictions of all trees."""
REPORTED = 20
"""Columns that the report names."""


@register("gbdt")
@dataclass
class Gbdt(Model):
    """A stack over margins and tie logits of the inputs, counted features and the strengths of the models.

    Trees have two heads: P(tie) from even columns, and P(A | decided) from all columns in both orders. The linear
    model predicts the three outcomes in both orders. Predictions are averaged over both orders, so they are exactly
    symmetric.
    """

    learner: Literal["lightgbm", "multinomial"] = "lightgbm"
    """Boosted trees, or a penalised multinomial regression, which is often better with few battles."""
    groups: tuple[str, ...] = DEFAULT_GROUPS
    """Groups of counted features; [] for the inputs alone."""
    likelihood: list[str] = field(default_factory=list)
    """Language models in order of preference; log-probabilities of the answers become columns. [] for none."""
    identity: Literal["none", "guessed", "true"] = "none"
    """Strengths of the answering models as columns: none, for models guessed from the answers, or by true name.

    Test battles have no names, so "true" is for diagnostics.
    """
    inner_salt: str = SALT
    """Salt of the inner folds from which the strengths of training battles come; without strengths, no effect.

    Stacks with several salts differ by chance alone, and may be averaged (bagging).
    """
    trees: TreeParameters = field(default_factory=TreeParameters)
    """Hyperparameters of the boosted trees."""
    rounds: int = 800
    """Boosting rounds of a head at most."""
    patience: int = 60
    """Rounds without a lower loss on held-out prompts after which a head stops."""
    hold_out: float = 0.2
    """Share of training prompts that decides the number of rounds; the final fit uses all. 0 uses every round."""
    seeds: int = 5
    """Boosters per head, each with its own seed; their logits are averaged."""
    penalty: float = 100.0
    """L2 penalty of the linear model on standardised columns."""
    clip: float = 3.0
    """Bound of each standardised column of the linear model, in standard deviations."""
    seed: int = 0
    """The first of the seeds."""

    inputs: ClassVar[UseOfInputs] = "read"
    renamed: ClassVar[Mapping[str, str]] = {"growth": "trees"}
    symmetric: ClassVar[bool] = True
    """Predictions are averaged over both orders."""

    def __post_init__(self) -> None:
        bounds = {
            "inner_salt": (self.inner_salt != "", 'another text than "", the salt of the scored folds'),
            "rounds": (self.rounds >= 1, "1 or more"),
            "patience": (self.patience >= 1, "1 or more"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
            "seeds": (self.seeds >= 1, "1 or more"),
            "penalty": (self.penalty > 0, "a number above 0"),
            "clip": (self.clip > 0, "a number above 0"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        complaints = group_complaints(self.groups) + bounds_complaints(self, bounds)
        if complaints:
            raise UserError(" ".join(complaints))

    @property
    def needs_names(self) -> bool:
        """True for the strengths of models by their true names."""
        return self.identity == "true"

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn from training battles; the columns of a battle do not depend on its own result."""
        require_battles(train)
        self.names_ = train.input_names
        self.language_model_ = find_language_model(self.likelihood)
        self.linear_: list[LinearHead] = []
        self.boosters_: dict[HeadName, list[lgb.Booster]] = {}
        strengths: Features | None = None
        if self.identity != "none":
            # The columns of a training battle come from inner folds. Battles that are held out for early stopping
            # contribute to the columns of the others, which makes the number of rounds slightly optimistic; it
            # affects no score.
            strengths, self.strengths_ = fit_strength_columns(train, self.identity, self.inner_salt)
        columns = self._columns(train, strengths)
        if not columns.odd.shape[1]:
            raise UserError(
                "no column distinguishes A from B. Expected inputs, groups of features, likelihood, or identity."
            )
        learned, held = self._hold_out(train)
        if self.learner == "multinomial":
            self._fit_linear(take_rows(columns, learned), train.take(learned))
            increases = self._loss_increases(take_rows(columns, held), train.take(held))
            self._fit_linear(columns, train)
        else:
            rounds = self._stop_early(columns, train, learned, held)
            increases = self._loss_increases(take_rows(columns, held), train.take(held))
            self.boosters_ = self._fit_boosters(columns, train, rounds)
        gains = self._gains(columns)
        self.importances_ = sorted(
            (Importance(name, gains[name], increases[name]) for name in gains), key=lambda each: -each.gain
        )
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities; raises UserError unless the battles carry the inputs of the training."""
        if battles.input_names != self.names_:
            fitted, given = (", ".join(names) or "none" for names in (self.names_, battles.input_names))
            raise UserError(f"the model was fitted on the inputs {fitted}, but the battles carry {given}.")
        if not len(battles):
            return np.empty((0, 3))
        strengths = None if self.identity == "none" else strength_columns(self.strengths_, battles)
        return self._proba(self._columns(battles, strengths))

    def save(self, folder: Path) -> None:
        """Write the linear model as JSON or the trees as LightGBM text, and the table importances.csv."""
        save_language_model(self.language_model_, folder)
        saved = {"inputs": self.names_, "lines": [asdict(fitted) for fitted in self.linear_]}
        write_json(folder / "gbdt.json", saved | {"importances": importance_rows(self.importances_)})
        save_boosters(folder, self.boosters_)
        if self.identity != "none":
            self.strengths_.save(folder)
        table = folder / "importances.csv"
        with atomic_path(table) as target, target.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([Importance._fields, *self.importances_])

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; raises UserError if the language model has changed since."""
        self.language_model_ = load_language_model(self.likelihood, folder)
        saved = json.loads((folder / "gbdt.json").read_text(encoding="utf-8"))
        self.names_ = tuple(saved["inputs"])
        self.linear_ = [LinearHead(**values) for values in saved["lines"]]
        self.boosters_ = load_boosters(folder, HEADS, self.seeds) if self.learner == "lightgbm" else {}
        if self.identity != "none":
            self.strengths_ = load_model_strengths(folder)
        self.importances_ = read_importances(saved["importances"])
        return self

    def report(self) -> dict[str, Any]:
        """Return the number of parameters, the trees of each head, and the most important columns."""
        boosters = [booster for each in self.boosters_.values() for booster in each]
        unnamed = self.identity != "none" and not self.strengths_.ratings.models
        return {
            "parameters": leaf_count(boosters) + sum(fitted.size for fitted in self.linear_),
            "trees": {head: each[0].num_trees() for head, each in self.boosters_.items()},
            "importances": importance_rows(self.importances_)[:REPORTED],
            "warnings": [NO_NAMES] if unnamed else [],
        } | language_model_report(self.language_model_)

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    def _columns(self, battles: Battles, strengths: Features | None) -> Features:
        """Return the columns of the texts, margin and tie logit of every input, and the strengths of the models."""
        parts = [battle_columns(battles, self.groups, self.language_model_), *input_columns(battles)]
        if strengths is not None:
            parts.append(strengths)
        return concat(parts)

    def _hold_out(self, train: Battles) -> tuple[Mask, Mask]:
        """Return masks of the battles to learn from before the final fit and of the held-out ones; none if too few.

        Extra battles are less similar to those to be predicted, so they are not held out.
        """
        chosen = hold_out(train, self.hold_out, salt="stop")
        held, learned = chosen & train.own, ~chosen
        if held.any() and learned.any():
            return learned, held
        return np.ones(len(train), bool), np.zeros(len(train), bool)

    def _fit_linear(self, columns: Features, train: Battles) -> None:
        task = outcome_task(all_columns(columns), all_columns(columns.swap()), train)
        self.linear_ = [fit_linear_head(task, self.penalty, self.clip, odd=False)]

    def _fit_boosters(
        self, columns: Features, train: Battles, rounds: Mapping[HeadName, int]
    ) -> dict[HeadName, list[lgb.Booster]]:
        """Return the boosters of both heads, fitted to all battles with this number of rounds."""
        new = {head: new_boosters(head_task(head, columns, train), self.trees, self._seeds()) for head in HEADS}
        every = [(booster, rounds[head]) for head in HEADS for booster in new[head]]
        add_trees_in_parallel(every, self.trees.threads)
        return {head: list(map(detach, boosters)) for head, boosters in new.items()}

    def _stop_early(self, columns: Features, train: Battles, learned: Mask, held: Mask) -> dict[HeadName, int]:
        """Return the number of rounds of each head by its held-out loss; leaves these boosters in `boosters_`."""
        rounds: dict[HeadName, int] = {}
        for head in with_progress(HEADS, "stack, early stopping of heads"):
            task = head_task(head, take_rows(columns, learned), train.take(learned))
            validation = head_task(head, take_rows(columns, held), train.take(held)) if held.any() else None
            boosters = fit_boosters(task, self.trees, self.rounds, self._seeds(), validation, self.patience)
            self.boosters_[head] = boosters
            best = [booster.best_iteration if held.any() else self.rounds for booster in boosters]
            rounds[head] = max(1, round(float(np.mean(best))))
        return rounds

    def _proba(self, columns: Features) -> Proba:
        """Return (n, 3) probabilities, averaged over both orders in log space."""
        swapped = columns.swap()
        if self.learner == "multinomial":
            straight, turned = (
                log_softmax(self.linear_[0].logits(all_columns(each))) for each in (columns, swapped)
            )
            return from_logs((straight + turned[:, SWAP]) / 2)
        tie = booster_logits(self.boosters_["tie"], columns.even, self.trees.threads)[:, 0]
        straight, turned = (
            booster_logits(self.boosters_["margin"], all_columns(each), self.trees.threads)[:, 0]
            for each in (columns, swapped)
        )
        return from_logs(log_outcomes(tie, (straight - turned) / 2))

    def _loss_increases(self, columns: Features, held: Battles) -> dict[str, float]:
        """Return `Importance.permutation` by column, measured on some of the held-out battles."""
        held, columns = held.take(slice(MOST_PERMUTED)), take_rows(columns, slice(MOST_PERMUTED))
        return loss_increases(self._proba, columns, held.labels, self.seed)

    def _gains(self, columns: Features) -> dict[str, float]:
        """Return `Importance.gain` by column."""
        names = (*columns.odd_names, *columns.even_names)
        if self.learner == "multinomial":
            norms = np.linalg.norm(np.array(self.linear_[0].weights), axis=0)
            return dict(zip(names, norms.tolist(), strict=True))
        gains = dict.fromkeys(names, 0.0)
        for head in HEADS:
            for booster in self.boosters_[head]:
                used = columns.even_names if head == "tie" else names
                for name, gain in zip(used, booster.feature_importance("gain"), strict=True):
                    gains[name] += float(gain) / self.seeds
        return gains
