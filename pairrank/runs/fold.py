"""One fold: train its model, predict the battles it has not seen, and save both."""

import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pairrank import distributed
from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions
from pairrank.data.probabilities import Proba
from pairrank.errors import UserError
from pairrank.evaluation.scoring import flip_rate, log_loss, swap_gap
from pairrank.models.base import Model, save_model
from pairrank.nested import json_ready
from pairrank.runs.fold_record import FoldRecord, write_fold_record
from pairrank.runs.provenance import commit, peak_memory_mb, versions

SWAPPED = 200
"""Battles of a fold that are predicted in both orders to measure swap gap and flip rate."""


@dataclass(frozen=True)
class FoldTask:
    """What one fold has to do, with all battles joined and ready."""

    title: str
    """What log lines call the fold."""
    folder: Path
    """Where the fold's files are kept."""
    model: Model
    """Not fitted yet."""
    train: Battles
    scored: Battles
    swapped: Battles
    """The first `SWAPPED` scored battles with A and B exchanged."""
    test: Battles | None
    test_file: Path
    """Where the predictions for the test battles are kept."""
    identity: str
    test_hash: str
    symmetric_inputs: bool
    warnings: tuple[str, ...]
    """What a reader of the result must know besides the model's own warnings."""
    extra: tuple[dict[str, Any], ...]
    """What became of each source of extra battles."""
    preparing_seconds: float
    """Spent on training what is rebuilt inside the fold: a part of the price."""


class FoldOutputs(NamedTuple):
    """What a fold's model predicts and reports."""

    scored: Proba
    swapped: Proba
    test: Proba | None
    report: dict[str, Any]
    training_seconds: float
    predict_seconds: float


def fit_and_predict(task: FoldTask) -> FoldOutputs:
    """Do everything in which several processes take part; within their block a model must do nothing else."""
    model, begun = task.model, time.perf_counter()
    model.fit(task.train, task.folder)
    trained = time.perf_counter()
    proba = model.predict_proba(task.scored) if len(task.scored) else np.empty((0, 3))
    seconds = time.perf_counter() - trained
    report = json_ready(model.report())  # before other predictions: it covers the tokens of the scored battles
    swapped = model.predict_proba(task.swapped)
    test = None if task.test is None else model.predict_proba(task.test)
    return FoldOutputs(proba, swapped, test, report, trained - begun, seconds)


def collective_fold(task: FoldTask, run_folder: Path, fold: int, is_inner: bool) -> AbstractContextManager[None]:
    """Return a block that all processes of torchrun execute together if the fold is a fine-tuning.

    Raises UserError for a fine-tuning inside another experiment, which the other processes do not know about.
    """
    if task.model.progress != "epochs" or distributed.world_size() == 1:
        return nullcontext()
    if is_inner:
        raise UserError(
            f"{task.title}: a fine-tuning that is a step inside another experiment cannot be shared by several "
            "processes. Run it without torchrun."
        )
    return distributed.collective({"folder": str(run_folder), "fold": fold})


def save_fold(task: FoldTask, outputs: FoldOutputs) -> FoldRecord:
    """Write the predictions, the model and, last, the record that marks the fold as finished; return the record."""
    folder, scored = task.folder, task.scored
    Predictions(scored.id, outputs.scored).write(folder / "oof.csv")
    if task.test is not None and outputs.test is not None:
        Predictions(task.test.id, outputs.test).write(task.test_file)
    save_model(task.model, folder)
    report = outputs.report
    if task.warnings:
        report = report | {"warnings": [*report.get("warnings", []), *task.warnings]}
    straight = outputs.scored[:SWAPPED]
    record = FoldRecord(
        identity=task.identity,
        test_hash=task.test_hash,
        battles=len(scored),
        log_loss=log_loss(outputs.scored, scored.labels) if len(scored) else None,
        training_seconds=task.preparing_seconds + outputs.training_seconds,
        predict_seconds=outputs.predict_seconds,
        swap_gap=swap_gap(straight, outputs.swapped) if len(scored) else 0.0,
        flip_rate=flip_rate(straight, outputs.swapped) if len(scored) else 0.0,
        peak_memory_mb=peak_memory_mb(),
        symmetric=task.model.symmetric and task.symmetric_inputs,
        report=report,
        extra=task.extra,
        versions=versions(),
        commit=commit(),
    )
    write_fold_record(record, folder)
    # Only now: a run that is killed while it predicts need not train again.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return record
