"""What one fold's model has to do, in the order in which all processes that share it do it."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from pairrank import distributed
from pairrank.data.battles import Battles
from pairrank.data.folder import TrainingSubset
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError
from pairrank.evaluation.metrics import read_metrics
from pairrank.models.base import Model
from pairrank.nested import json_ready
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.run import Run, told_by

SWAPPED = 200
"""Battles of a fold that are predicted in both orders to measure swap gap and flip rate."""


class Told(NamedTuple):
    """What a fold's model says: probabilities (n, 3), and of itself; and when it was trained."""

    scored: Proba
    swapped: Proba
    """Of the first `SWAPPED` scored battles, in the other order."""
    test: Proba | None
    report: dict[str, Any]
    trained_at: float
    predict_seconds: float


def fit_and_predict(run: Run, fold: int, model: Model, seen: Battles) -> Told:
    """All of a fold that several processes share; nothing else may ask a model for anything within their block."""
    scored = run.train.take(run.member == fold)
    model.fit(seen, run.folder / f"fold{fold}")
    trained = time.perf_counter()
    proba = model.predict_proba(scored) if len(scored) else np.empty((0, 3))
    seconds = time.perf_counter() - trained
    report = json_ready(model.report())  # says what was kept of the scored battles: what follows reads others
    swapped = model.predict_proba(_swapped(run, fold, scored.take(slice(SWAPPED))))
    test = run.test_in(fold)
    return Told(proba, swapped, None if test is None else model.predict_proba(test), report, trained, seconds)


def shared(run: Run, fold: int, model: Model) -> AbstractContextManager[None]:
    """A block that other processes, where there are any, go through too; only a fine-tuning has work for them.

    Raises UserError for one within another experiment, which the others do not know.
    """
    if model.progress != "epochs" or distributed.world_size() == 1:
        return nullcontext()
    if isinstance(run.data, TrainingSubset):
        raise UserError(
            f"{run.experiment.label}: a fine-tuning that is a step within another experiment cannot be shared by "
            "several processes. Run it without torchrun."
        )
    return distributed.collective({"folder": str(run.folder), "fold": fold})


def has_symmetric_inputs(run: Run) -> bool:
    """Whether all that it builds on says the same of a battle in either order."""
    return all(read_metrics(each.folder)["symmetric"] for each in run.inputs)


def _swapped(run: Run, fold: int, battles: Battles) -> Battles:
    """The battles in the other order, with what the inputs say of them in that order."""
    turned = battles.swap()
    if not run.inputs or has_symmetric_inputs(run):
        return turned
    models = {each.experiment.name: load_fold_models(each.folder) for each in run.inputs}
    return told_by(turned, {name: each.predict_fold(fold, turned) for name, each in models.items()})
