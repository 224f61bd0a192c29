"""What other experiments say, beside what can be counted: trees or a linear model learn whom to believe when."""

import csv
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import lightgbm as lgb
import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folds import hold_out
from pairrank.data.probabilities import (
    SWAP,
    FloatArray,
    Proba,
    from_logs,
    log_outcomes,
    log_softmax,
    margin_and_tie,
)
from pairrank.errors import UserError, bounds_complaints, unknown_name
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import GROUPS, Features, concat, count_features
from pairrank.features.model_strengths import ModelStrengths, NameSource, fit_model_strengths, load_model_strengths
from pairrank.features.ratings import NO_NAMES
from pairrank.files import atomic_path, write_json, write_text
from pairrank.memo import memoise
from pairrank.models.base import Model, UseOfInputs, register
from pairrank.models.heads.linear import Line, fit_line, margin_task, outcome_task, tie_task
from pairrank.models.heads.trees import Growth, grow, leaf_count, scores
from pairrank.training.monitor import Monitor

Head = Literal["tie", "margin"]
HEADS: tuple[Head, ...] = ("tie", "margin")

NAN = float("nan")
MOST_PERMUTED = 1_000
"""Held-out battles among which columns are shuffled."""


class Importance(NamedTuple):
    """What one column is worth to the model."""

    column: str
    gain: float
    """Loss that its splits took away in training, over all trees; of the linear model, the size of its weights."""
    permutation: float
    """Log loss that held-out training battles lose when its values change places; NaN where none were held out."""


@register("gbdt")
@dataclass
class Gbdt(Model):
    """A stack: margins and tie logits of the inputs, counted features, perhaps the models' identity.

    Trees learn in two heads, P(tie) from even columns and P(A | decided) from all columns in both orders; the
    linear model learns three outcomes in both orders. Both are asked in both orders, so they are exactly symmetric.
    """

    learner: Literal["lightgbm", "multinomial"] = "lightgbm"
    """Boosted trees, or a penalised multinomial regression, which often wins with few battles."""
    groups: tuple[str, ...] = tuple(group for group in GROUPS if group != "style")
    """Which groups of counted features; [] for the inputs alone."""
    identity: Literal["none", "guessed", "true"] = "none"
    """Strengths of the answering models: none, guessed from each answer, or by name, which test battles lack."""
    growth: Growth = field(default_factory=Growth)
    """How the trees grow."""
    rounds: int = 800
    """Trees of a head at most."""
    patience: int = 60
    """Trees without a gain on held-out prompts after which a head stops."""
    hold_out: float = 0.2
    """Share of the training prompts that tells when to stop; then all of them are learned. 0 takes every round."""
    seeds: int = 5
    """How many times the trees are grown; their logits are averaged."""
    penalty: float = 100.0
    """L2 penalty of the linear model on standardised columns."""
    clip: float = 3.0
    """Standard deviations at which a column of the linear model stops growing."""
    seed: int = 0
    """The first of the seeds."""

    inputs: ClassVar[UseOfInputs] = "read"
    """They become columns beside the others."""
    symmetric: ClassVar[bool] = True
    """By construction: both orders are averaged."""

    def __post_init__(self) -> None:
        wrong = [unknown_name("group of features", group, GROUPS) for group in self.groups if group not in GROUPS]
        bounds = {
            "rounds": (self.rounds >= 1, "1 or more"),
            "patience": (self.patience >= 1, "1 or more"),
            "hold_out": (0 <= self.hold_out < 1, "a share from 0 to below 1"),
            "seeds": (self.seeds >= 1, "1 or more"),
            "penalty": (self.penalty > 0, "above 0"),
            "clip": (self.clip > 0, "above 0"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        wrong += bounds_complaints(self, bounds)
        if wrong:
            raise UserError(" ".join(wrong))

    @property
    def needs_names(self) -> bool:
        """Whether it reads what test battles lack."""
        return self.identity == "true"

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        """Learn from the columns of training battles, each made without that battle's own result."""
        self.names_ = train.input_names
        self.lines_: list[Line] = []
        self.trees_: dict[Head, list[lgb.Booster]] = {}
        told: Features | None = None
        if self.identity != "none":
            # Of training battles from inner folds: a battle's own result never enters its own columns. (Battles
            # held out to stop by have a part in those of the others: the stop is a little optimistic, no score is.)
            told, self.identity_ = _identity_of(train, self.identity)
        columns = self._columns(train, told)
        if not columns.odd.shape[1]:
            raise UserError("nothing to tell A from B by: no inputs, no groups of features, no identity.")
        held = hold_out(train, self.hold_out, salt="stop") & (train.weights == train.weights.max(initial=0))
        learned = ~hold_out(train, self.hold_out, salt="stop")
        if not held.any() or not learned.any():
            held, learned = np.zeros(len(train), bool), np.ones(len(train), bool)
        if self.learner == "multinomial":
            self._fit_line(_rows(columns, learned), train.take(learned))
            permuted = self._permuted(_rows(columns, held), train.take(held))
            self._fit_line(columns, train)
        else:
            rounds = self._stop(columns, train, learned, held)
            permuted = self._permuted(_rows(columns, held), train.take(held))
            for head in HEADS:
                task = _task(head, columns, train)
                self.trees_[head] = [grow(task, self.growth, rounds[head], seed) for seed in self._seeds()]
        gains = self._gains(columns)
        self.importances_ = sorted(
            (Importance(name, gains[name], permuted[name]) for name in gains), key=lambda each: -each.gain
        )
        return self

    def predict_proba(self, battles: Battles) -> Proba:
        """(n, 3) probabilities; raises UserError unless the battles carry the inputs it was fitted on."""
        if battles.input_names != self.names_:
            fitted, asked = (", ".join(names) or "none" for names in (self.names_, battles.input_names))
            raise UserError(f"fitted on the inputs {fitted}; asked with {asked}.")
        if not len(battles):
            return np.empty((0, 3))
        return self._proba(
            self._columns(battles, None if self.identity == "none" else _identity_columns(self.identity_, battles))
        )

    def save(self, folder: Path) -> None:
        """Write the linear model as JSON or the trees as LightGBM text, and importances.csv to look at."""
        kept = {"inputs": self.names_, "lines": [asdict(line) for line in self.lines_]}
        write_json(folder / "gbdt.json", kept | {"importances": self._told_importances()})
        for head, boosters in self.trees_.items():
            for i, booster in enumerate(boosters):
                write_text(folder / f"{head}_{i}.txt", booster.model_to_string())
        if self.identity != "none":
            self.identity_.save(folder)
        table = folder / "importances.csv"
        with atomic_path(table) as target, target.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([Importance._fields, *self.importances_])

    def load(self, folder: Path) -> Self:
        """Read what `save` wrote."""
        kept = json.loads((folder / "gbdt.json").read_text(encoding="utf-8"))
        self.names_ = tuple(kept["inputs"])
        self.lines_ = [Line(**line) for line in kept["lines"]]
        self.trees_ = {}
        if self.learner == "lightgbm":
            for head in HEADS:
                texts = [(folder / f"{head}_{i}.txt").read_text(encoding="utf-8") for i in range(self.seeds)]
                self.trees_[head] = [lgb.Booster(model_str=text) for text in texts]
        if self.identity != "none":
            self.identity_ = load_model_strengths(folder)
        rows = [Importance(**row) for row in kept["importances"]]
        self.importances_ = [row if row.permutation is not None else row._replace(permutation=NAN) for row in rows]
        return self

    def report(self) -> dict[str, Any]:
        """Numbers fitted, trees of each head, and the columns that matter most."""
        boosters = [booster for grown in self.trees_.values() for booster in grown]
        unnamed = self.identity != "none" and not self.identity_.ratings.models
        return {
            "parameters": leaf_count(boosters) + sum(line.size for line in self.lines_),
            "trees": {head: grown[0].num_trees() for head, grown in self.trees_.items()},
            "importances": self._told_importances()[:20],
            "warnings": [NO_NAMES] if unnamed else [],
        }

    def _told_importances(self) -> list[dict[str, Any]]:
        """As JSON can hold them: null where nothing was held out."""
        rows = [each._asdict() for each in self.importances_]
        return [row | ({"permutation": None} if np.isnan(row["permutation"]) else {}) for row in rows]

    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.seeds)

    def _columns(self, battles: Battles, identity: Features | None) -> Features:
        """The counted features, margin and tie logit of every input, and the columns of identity."""
        parts = [count_features(battles, self.groups)]
        if battles.inputs is not None:
            margin, tie = margin_and_tie(battles.inputs)
            even_names = [f"{name}.{what}" for what in ("tie", "margin.size") for name in self.names_]
            odd_names = [f"{name}.margin" for name in self.names_]
            parts.append(Features(margin, np.hstack([tie, np.abs(margin)]), tuple(odd_names), tuple(even_names)))
        if identity is not None:
            parts.append(identity)
        return concat(parts)

    def _fit_line(self, columns: Features, train: Battles) -> None:
        straight, swapped = _both(columns), _both(columns.swap())
        self.lines_ = [fit_line(outcome_task(straight, swapped, train), self.penalty, self.clip, odd=False)]

    def _stop(
        self, columns: Features, train: Battles, learned: np.ndarray[Any, Any], held: np.ndarray[Any, Any]
    ) -> dict[Head, int]:
        """How many trees held-out prompts gain from, a head; the trees that were stopped there are kept for now."""
        rounds: dict[Head, int] = {}
        for head in HEADS:
            task = _task(head, _rows(columns, learned), train.take(learned))
            watch = _task(head, _rows(columns, held), train.take(held)) if held.any() else None
            grown = [
                grow(task, self.growth, self.rounds, s, watch=watch, patience=self.patience) for s in self._seeds()
            ]
            self.trees_[head] = grown
            best = [booster.best_iteration if held.any() else self.rounds for booster in grown]
            rounds[head] = max(1, round(float(np.mean(best))))
        return rounds

    def _proba(self, columns: Features) -> Proba:
        """(n, 3) probabilities, the mean over both orders in log space."""
        back = columns.swap()
        if self.learner == "multinomial":
            straight, turned = (log_softmax(self.lines_[0].scores(_both(each))) for each in (columns, back))
            return from_logs((straight + turned[:, SWAP]) / 2)
        threads = self.growth.threads
        tie = scores(self.trees_["tie"], columns.even, threads)[:, 0]
        straight, turned = (scores(self.trees_["margin"], _both(each), threads)[:, 0] for each in (columns, back))
        return from_logs(log_outcomes(tie, (straight - turned) / 2))

    def _permuted(self, columns: Features, held: Battles) -> dict[str, float]:
        """By how much the log loss of held-out training battles grows when one column is shuffled among them."""
        names = (*columns.odd_names, *columns.even_names)
        if not len(held):
            return dict.fromkeys(names, NAN)
        # Every column asks all trees again: a thousand battles tell enough.
        held, columns = held.take(slice(MOST_PERMUTED)), _rows(columns, slice(MOST_PERMUTED))
        whole = log_loss(self._proba(columns), held.labels)
        order = np.random.default_rng(self.seed).permutation(len(held))
        lost = {}
        for part, part_names in (("odd", columns.odd_names), ("even", columns.even_names)):
            for i, name in enumerate(part_names):
                shuffled = getattr(columns, part).copy()
                shuffled[:, i] = shuffled[order, i]
                lost[name] = log_loss(self._proba(replace(columns, **{part: shuffled})), held.labels) - whole
        return lost

    def _gains(self, columns: Features) -> dict[str, float]:
        """What each column did in training."""
        names = (*columns.odd_names, *columns.even_names)
        if self.learner == "multinomial":
            sizes = np.linalg.norm(np.array(self.lines_[0].weights), axis=0)
            return dict(zip(names, sizes.tolist(), strict=True))
        gains = dict.fromkeys(names, 0.0)
        for head, seen in (("tie", columns.even_names), ("margin", names)):
            for booster in self.trees_[head]:  # type: ignore[index]
                for name, gain in zip(seen, booster.feature_importance("gain"), strict=True):
                    gains[name] += float(gain) / self.seeds
        return gains


@memoise
def _identity_of(train: Battles, kind: NameSource) -> tuple[Features, ModelStrengths]:
    return fit_model_strengths(train, kind)


@memoise
def _identity_columns(identity: ModelStrengths, battles: Battles) -> Features:
    return identity.columns(battles)


def _both(columns: Features) -> FloatArray:
    return np.hstack([columns.odd, columns.even])


def _rows(columns: Features, rows: np.ndarray[Any, Any] | slice) -> Features:
    return replace(columns, odd=columns.odd[rows], even=columns.even[rows])


def _task(head: Head, columns: Features, train: Battles) -> Any:
    """Inputs and classes of a head: ties see nothing odd."""
    if head == "tie":
        return tie_task(columns.even, train)
    return margin_task(_both(columns), _both(columns.swap()), train)
