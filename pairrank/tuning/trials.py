"""What one setting is worth: its log loss, out of fold, on battles cut once for all trials of a study."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from pairrank.evaluation.scoring import battle_losses
from pairrank.models.base import Progress
from pairrank.progress import with_progress
from pairrank.runs.cross_validation import cross_validate, training_battles
from pairrank.runs.experiment import Experiment
from pairrank.runs.folder import read_matching
from pairrank.runs.run import Run
from pairrank.training.monitor import Monitor, ReportLoss

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """One tuning fold: whom to learn from, and whom to be judged by, with all that inputs and teachers say."""

    fold: int
    seen: Battles
    scored: Battles


def cut_folds(run: Run, folds: Sequence[int]) -> tuple[Cut, ...]:
    """The tuning folds of a run; what it builds on is made first, once for all trials."""
    there = sorted(set(run.fold_index.tolist()))
    for each in run.inputs:
        # Asked even where it is whole: it is no one's run, and must be of today's code.
        cross_validate(each, there)
    return tuple(
        Cut(fold, training_battles(run, fold)[0], run.train.take(run.fold_index == fold)) for fold in folds
    )


def evaluate(experiment: Experiment, cuts: Sequence[Cut], folder: Path, report: ReportLoss) -> float:
    """Log loss over all battles of the tuning folds, each judged by a model that never saw its prompt.

    `report` receives the first fold only: each step of a model that learns in steps, else its log loss as step 1.
    Finished folds and what the model keeps are left in `folder`, so that the same setting can go on from them.
    Raises UserError for a loss that is no number.
    """
    losses = []
    for i, cut in enumerate(with_progress(cuts, "trial, folds")):
        file = folder / f"fold{cut.fold}.csv"
        kept = read_matching(file, cut.scored.id)
        if kept is None:
            kept = Predictions(cut.scored.id, _proba(experiment, cut, folder, report if i == 0 else None))
            kept.write(file)
        losses.append(battle_losses(kept.proba, cut.scored.labels))
        if i == 0 and not progress_of(experiment):
            report(1, float(losses[0].mean()))
    value = float(np.concatenate(losses).mean())
    if not math.isfinite(value):
        raise UserError("the log loss is no number.")
    return value


def _proba(experiment: Experiment, cut: Cut, folder: Path, report: ReportLoss | None) -> Any:
    """(n, 3) what a model of this setting says of the scored battles."""
    model = experiment.build()
    place = folder / f"fold{cut.fold}"
    place.mkdir(parents=True, exist_ok=True)
    if report is not None and model.progress:
        model.fit(cut.seen, place, monitor=Monitor(cut.scored, report))
    else:
        model.fit(cut.seen, place)
    proba = model.predict_proba(cut.scored)
    if not np.isfinite(proba).all():
        raise UserError("the model's probabilities are no numbers.")
    return proba


def progress_of(experiment: Experiment) -> Progress:
    """Return the unit of the steps after which the experiment's model reports a loss; "" for a single step."""
    return experiment.build().progress
