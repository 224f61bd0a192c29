"""Teachers, trained inside a fold, give its training battles soft targets and decide battles without votes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, geometric_mean
from pairrank.data.probabilities import Proba
from pairrank.models.base import Model, build
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.training_rows import attach_predictions


@dataclass(frozen=True)
class Teacher:
    """An experiment that was trained on the training battles of one fold alone."""

    name: str
    folder: Path
    """The folder of its finished run inside the fold."""
    predictions: Predictions
    """Its out-of-fold predictions of the fold's training battles."""


@dataclass(frozen=True)
class Teaching:
    """The teachers of one fold, and how their predictions are calibrated."""

    teachers: tuple[Teacher, ...]
    weight: float
    """Share of the teachers in the targets, from 0 to 1; the rest is that of the winners."""
    calibrations: tuple[Model, ...]
    """A fitted pool of one input for each teacher: temperature scaling. Empty if a single one stays as it is."""

    def targets(self, train: Battles) -> Proba:
        """Return (n, 3) soft targets of the fold's training battles: (1 - weight) winner + weight teachers.

        The cross-entropy is linear in its target. So a model q that learns from these targets minimises
        (1 - weight) CE(winner, q) + weight KL(teachers || q), up to a constant: the entropy of the teachers times
        `weight` (Hinton, Vinyals and Dean 2015, section 2). The teachers count as the normalised geometric mean of
        their predictions. A battle with soft winners, such as shares of votes, has these in place of its winner.
        """
        taught = self._mean(train, [each.predictions for each in self.teachers])
        if self.weight == 1:
            return taught
        decided = np.eye(3)[train.labels] if train.soft is None else train.soft
        return (1 - self.weight) * decided + self.weight * taught

    def predict(self, battles: Battles) -> Proba:
        """Return the teachers' (n, 3) probabilities of battles that they were not trained on.

        Each teacher is the geometric mean of its models inside the fold, none of which has seen a scored battle.
        """
        return self._mean(battles, [load_fold_models(each.folder).predict(battles) for each in self.teachers])

    def _mean(self, battles: Battles, predictions: Sequence[Predictions]) -> Proba:
        """Return the geometric mean of the teachers' calibrated predictions of these battles."""
        if not self.calibrations:
            return predictions[0].align(battles.id).proba
        calibrated = [
            model.predict_proba(attach_predictions(battles, {teacher.name: given}))
            for teacher, model, given in zip(self.teachers, self.calibrations, predictions, strict=True)
        ]
        return geometric_mean([Predictions(battles.id, proba) for proba in calibrated]).proba


def fit_teaching(teachers: Sequence[Teacher], weight: float, train: Battles) -> Teaching:
    """Return the teaching of one fold, calibrated on the fold's training battles.

    The temperature of each teacher is fitted to its out-of-fold predictions, within the bounds of a `pool` and only
    where the pool finds that it helps. A single teacher of weight 1 is used as it is, so that models which were
    distilled from one before calibration existed stay the same.
    """
    if len(teachers) == 1 and weight == 1:
        return Teaching(tuple(teachers), weight, ())
    calibrations = tuple(
        build("pool", weights="temperature").fit(attach_predictions(train, {each.name: each.predictions}))
        for each in teachers
    )
    return Teaching(tuple(teachers), weight, calibrations)
