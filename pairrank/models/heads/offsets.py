"""What is known of a battle before a network reads it: predictions of other experiments and of counted features.

The margin and the tie logit of such predictions are offsets of the network's own, which therefore learns what they
leave unexplained.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds
from pairrank.data.probabilities import FloatArray, Proba, from_logs, log_outcomes, margin_and_tie
from pairrank.errors import UserError
from pairrank.features.counting import count_features
from pairrank.files import write_json
from pairrank.models.heads.linear import LinearHead, fit_linear_head, margin_task, tie_task

PENALTY, CLIP = 100.0, 3.0
"""L2 penalty and bound of standardised columns, the defaults of `structure`."""
INNER, SALT = 5, "features"
"""Number and salt of the inner folds that predict training battles."""
COUNTED = "counted features"
"""Name of the predictions of counted features among the inputs; no experiment can have it."""
FILE = "offsets.json"


@dataclass(frozen=True)
class CountedModel:
    """Logistic models of counted features: odd ones give the margin, even ones the tie, as in `structure`."""

    groups: tuple[str, ...]
    """Groups of features."""
    margin: LinearHead
    """The logit of A among decided battles."""
    tie: LinearHead
    """The logit of a tie among all battles."""

    def predict_proba(self, battles: Battles) -> Proba:
        """Return (n, 3) probabilities; exactly symmetric."""
        counted = count_features(battles, self.groups)
        tie, margin = self.tie.logits(counted.even), self.margin.logits(counted.odd)
        return from_logs(log_outcomes(tie[:, 0], margin[:, 0]))


def fit_counted(train: Battles, groups: Sequence[str]) -> CountedModel:
    """Fit both heads to training battles; the columns are standardised by these battles."""
    counted = count_features(train, groups)
    margin = fit_linear_head(margin_task(counted.odd, -counted.odd, train), PENALTY, CLIP, odd=True)
    return CountedModel(
        tuple(groups), margin, fit_linear_head(tie_task(counted.even, train), PENALTY, CLIP, odd=False)
    )


def cross_predict(train: Battles, groups: Sequence[str]) -> Proba:
    """Return (n, 3) predictions of training battles, each by a model that was not fitted to its prompt.

    A network that read predictions of the model of all battles would trust them too much: they know the winners.
    """
    fold_index, proba = assign_folds(train, INNER, SALT), np.empty((len(train), 3))
    for fold in np.unique(fold_index):
        held = fold_index == fold
        proba[held] = fit_counted(train.take(~held), groups).predict_proba(train.take(held))
    return proba


@dataclass(frozen=True)
class OffsetModel:
    """The sources of a network's offsets."""

    inputs: tuple[str, ...] = ()
    """Names of the experiments whose predictions the battles carry."""
    counted: CountedModel | None = None
    """The model of counted features, if there is one."""

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.inputs) + (self.counted is not None)

    def attach(self, battles: Battles) -> Battles:
        """Return battles to predict whose `inputs` are all sources, in a fixed order.

        Raises UserError if they carry other inputs than the training battles.
        """
        if battles.input_names != self.inputs and self.inputs:
            fitted, given = (", ".join(names) or "none" for names in (self.inputs, battles.input_names))
            raise UserError(f"the model was fitted on the inputs {fitted}, but the battles carry {given}.")
        bare = battles if self.inputs else replace(battles, inputs=None, input_names=())
        return bare if self.counted is None else _with_input(bare, self.counted.predict_proba(bare))

    def save(self, folder: Path) -> None:
        """Write offsets.json, if there is any source."""
        if len(self):
            write_json(folder / FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        if not (folder / FILE).is_file():
            return cls()
        saved = json.loads((folder / FILE).read_text(encoding="utf-8"))
        counted = saved["counted"]
        if counted is not None:
            heads = {head: LinearHead(**counted[head]) for head in ("margin", "tie")}
            counted = CountedModel(tuple(counted["groups"]), **heads)
        return cls(tuple(saved["inputs"]), counted)


def fit_offsets(train: Battles, groups: Sequence[str]) -> tuple[OffsetModel, Battles]:
    """Return the sources for training battles, and these battles with `inputs` that are all sources.

    `groups` are those of the counted features, [] for none. The predictions of counted features for the training
    battles come from inner folds.
    """
    if not groups:
        return OffsetModel(train.input_names), train
    counted = fit_counted(train, groups)
    return OffsetModel(train.input_names, counted), _with_input(train, cross_predict(train, groups))


def offsets_of(battles: Battles) -> FloatArray:
    """Return (n, k, 2) margins and tie logits of the k inputs that battles carry."""
    if battles.inputs is None:
        return np.empty((len(battles), 0, 2))
    return np.stack(margin_and_tie(battles.inputs), axis=2)


def _with_input(battles: Battles, proba: Proba) -> Battles:
    """Return battles with the predictions of counted features as a further input."""
    parts = [] if battles.inputs is None else [battles.inputs]
    names = (*battles.input_names, COUNTED)
    return replace(battles, inputs=np.concatenate([*parts, proba[:, None]], axis=1), input_names=names)
