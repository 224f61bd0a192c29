"""New battles are predicted by the fold models of a trained run and of everything it builds on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, geometric_mean
from pairrank.errors import UserError
from pairrank.evaluation.run_record import read_run_record
from pairrank.features import measurements
from pairrank.models.base import Model
from pairrank.runs.adapters import load_average, load_models
from pairrank.runs.folder import current_folds
from pairrank.runs.training_rows import attach_predictions

BLOCK = 5_000
"""Battles that all models predict before the next ones."""


@dataclass(frozen=True)
class FoldModels:
    """The saved models of a run, one per fold, and those of its inputs."""

    name: str
    """`RunRecord.column`: how the predictions are called where they are inputs."""
    folds: Sequence[int]
    models: Sequence[Model]
    inputs: Sequence["FoldModels"]

    def predict(self, battles: Battles) -> Predictions:
        """Return the geometric mean over the fold models, as for the run's test battles.

        All models predict one block of battles before the next, so that features are counted once per battle.
        """
        starts = range(0, max(len(battles), 1), BLOCK)
        blocks = [self._predict_block(battles.take(slice(start, start + BLOCK))) for start in starts]
        return Predictions(battles.id, np.concatenate([block.proba for block in blocks]))

    def _predict_block(self, battles: Battles) -> Predictions:
        with measurements.streaming():
            return geometric_mean([self.predict_fold(fold, battles) for fold in self.folds])

    def predict_fold(self, fold: int, battles: Battles, known: dict[int, Predictions] | None = None) -> Predictions:
        """Return the predictions of one fold's model, whose inputs are predicted by their models of the same fold.

        `known` holds predictions by the id of their `FoldModels`, so that each model predicts once.
        """
        known = {} if known is None else known
        if id(self) not in known:
            inputs = {each.name: each.predict_fold(fold, battles, known) for each in self.inputs}
            model = self.models[list(self.folds).index(fold)]
            proba = model.predict_proba(attach_predictions(battles, inputs))
            known[id(self)] = Predictions(battles.id, proba)
        return known[id(self)]


def load_averaged_model(folder: Path) -> FoldModels:
    """Return one model of a run, whose adapter and head are the means of those of its folds.

    No battle of the run can measure it: each one has trained some of its parts. Raises UserError if the models have
    no adapters, or if the run builds on others.
    """
    refuse_stale(folder)
    record = read_run_record(folder)
    if record.inputs:
        raise UserError(f"{folder}: the run builds on others, so its models have no adapters to average.")
    average = load_average([folder / f"fold{fold}" for fold in sorted(current_folds(folder))])
    return FoldModels(record.column, [0], [average], [])


def load_fold_models(folder: Path, loaded: dict[Path, FoldModels] | None = None) -> FoldModels:
    """Return the models of a run and of all it builds on, each loaded once.

    Raises UserError if a model is missing or an input has changed since the run was made.
    """
    if loaded is None:
        loaded = {}
        refuse_stale(folder)
    if folder not in loaded:
        record = read_run_record(folder)
        folds = sorted(current_folds(folder))
        inputs = [load_fold_models(folder.parent / label, loaded) for label in record.inputs]
        models = load_models([folder / f"fold{fold}" for fold in folds])
        loaded[folder] = FoldModels(record.column, folds, models, inputs)
    return loaded[folder]


def refuse_stale(folder: Path, above: Sequence[Path] = ()) -> None:
    """Raise UserError unless a run and all it builds on are complete and unchanged since the run was made.

    `above` are the runs that build on this one.
    """
    if folder in above:
        raise UserError(f"{folder}: its record says that this run builds on itself. Run it again.")
    record = read_run_record(folder)
    folds = current_folds(folder)
    for label, predictions in record.inputs.items():
        source = folder.parent / label
        if read_run_record(source).predictions != predictions:
            raise UserError(
                f"{folder}: this run was made with other predictions of {label} than {source} now contains. "
                f"Run {record.label} again."
            )
        refuse_stale(source, (*above, folder))
        if missing := sorted(folds.keys() - current_folds(source).keys()):
            numbers = ", ".join(map(str, missing))
            raise UserError(f"{source}: no model of fold {numbers}, which {folder.name} needs. Run {label} again.")
