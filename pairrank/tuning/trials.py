"""The value of a setting is its out-of-fold log loss on battles that are the same for all trials of a study."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError
from pairrank.evaluation.scoring import battle_losses
from pairrank.models.base import Progress
from pairrank.progress import with_progress
from pairrank.runs.cross_validation import cross_validate, training_battles
from pairrank.runs.experiment import Experiment
from pairrank.runs.folder import read_matching
from pairrank.runs.run import Run
from pairrank.training.monitor import Monitor, ReportLoss


@dataclass(frozen=True)
class TuningFold:
    """The battles of one tuning fold, with the predictions of inputs and teacher."""

    fold: int
    train: Battles
    scored: Battles


def tuning_folds(run: Run, folds: Sequence[int]) -> tuple[TuningFold, ...]:
    """Return the tuning folds of a run; what it builds on is trained first, once for all trials."""
    existing = sorted(set(run.fold_index.tolist()))
    for each in run.inputs:
        # Always called: these inputs belong to the search alone, so they must be of the present code.
        cross_validate(each, existing)
    return tuple(
        TuningFold(fold, training_battles(run, fold)[0], run.train.take(run.fold_index == fold)) for fold in folds
    )


def evaluate(experiment: Experiment, folds: Sequence[TuningFold], folder: Path, report: ReportLoss) -> float:
    """Return the log loss over all battles of the tuning folds, each predicted by a model without its prompt.

    `report` receives the losses of the first fold only: one per step of a model with `progress`, or else the loss
    of the fold as step 1. Finished folds and checkpoints are kept in `folder`, from which the same setting resumes.
    Raises UserError if the loss is not a finite number.
    """
    losses = []
    for i, each in enumerate(with_progress(folds, "trial, folds")):
        file = folder / f"fold{each.fold}.csv"
        predictions = read_matching(file, each.scored.id)
        if predictions is None:
            proba = _proba(experiment, each, folder, report if i == 0 else None)
            Predictions(each.scored.id, proba).write(file)
            # Read with as many digits as a trial has that resumes, so that its loss is the same to the last one.
            predictions = read_predictions(file)
        losses.append(battle_losses(predictions.proba, each.scored.labels))
        if i == 0 and not progress_of(experiment):
            report(1, float(losses[0].mean()))
    value = float(np.concatenate(losses).mean())
    if not math.isfinite(value):
        raise UserError("the log loss is not a finite number.")
    return value


def _proba(experiment: Experiment, fold: TuningFold, folder: Path, report: ReportLoss | None) -> Proba:
    """Train a model with this setting; return its (n, 3) probabilities for the scored battles."""
    model = experiment.build()
    place = folder / f"fold{fold.fold}"
    place.mkdir(parents=True, exist_ok=True)
    if report is not None and model.progress:
        model.fit(fold.train, place, monitor=Monitor(fold.scored, report))
    else:
        model.fit(fold.train, place)
    proba = model.predict_proba(fold.scored)
    if not np.isfinite(proba).all():
        raise UserError("the probabilities of the model are not finite numbers.")
    return proba


def progress_of(experiment: Experiment) -> Progress:
    """Return the unit of the steps after which the experiment's model reports a loss; "" for a single step."""
    return experiment.build().progress
