"""One fold: its model is trained, predicts the scored and test battles, and is saved with the predictions."""

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
from pairrank.files import sha256_of
from pairrank.models.base import Model
from pairrank.models.saving import MODEL_FILE, save_model
from pairrank.nested import json_ready
from pairrank.runs.fold_record import FoldRecord, write_fold_record
from pairrank.runs.provenance import commit, peak_memory_mb, versions

SWAPPED = 200
"""Battles of a fold that are predicted in both orders to measure swap gap and flip rate."""


@dataclass(frozen=True)
class FoldTask:
    """The work of one fold: an unfitted model with all battles to train on and to predict."""

    title: str
    """Name of the fold in log lines."""
    fold: int
    folder: Path
    """Folder for the fold's files."""
    model: Model
    """The unfitted model."""
    train: Battles
    scored: Battles
    swapped: Battles
    """The first `SWAPPED` scored battles with A and B exchanged."""
    test: Battles | None
    test_file: Path
    """File for the predictions of the test battles."""
    identity: str
    test_hash: str
    symmetric_inputs: bool
    warnings: tuple[str, ...]
    """Warnings for readers of the results, in addition to the model's own."""
    extra: tuple[dict[str, Any], ...]
    """How many battles of each source of extra battles were used and left out."""
    preparing_seconds: float
    """Seconds of training inputs and teacher inside the fold, which are part of the training time."""


class FoldOutputs(NamedTuple):
    """The predictions of a fold's model, and its report."""

    scored: Proba
    swapped: Proba
    test: Proba | None
    report: dict[str, Any]
    training_seconds: float
    predict_seconds: float


def fit_and_predict(task: FoldTask) -> FoldOutputs:
    """Train the model and predict; the processes of a collective block all call this, and nothing else, in it."""
    model, begun = task.model, time.perf_counter()
    model.fit(task.train, task.folder)
    trained = time.perf_counter()
    proba = model.predict_proba(task.scored) if len(task.scored) else np.empty((0, 3))
    seconds = time.perf_counter() - trained
    # Before other predictions, because the report counts the tokens of the battles that were predicted last.
    report = json_ready(model.report())
    swapped = model.predict_proba(task.swapped)
    test = None if task.test is None else model.predict_proba(task.test)
    return FoldOutputs(proba, swapped, test, report, trained - begun, seconds)


def collective_fold(task: FoldTask, run_folder: Path, fold: int, is_inner: bool) -> AbstractContextManager[None]:
    """Return a block that all processes of torchrun execute together if the fold is a fine-tuning.

    Raises UserError for a fine-tuning inside another experiment, because the other processes have no such run.
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
        files={name: sha256_of(folder / name) for name in ("oof.csv", MODEL_FILE)},
        test_file=sha256_of(task.test_file) if outputs.test is not None else "",
        fold=task.fold,
    )
    write_fold_record(record, folder)
    # Checkpoints are removed last, so that a run that is killed while it predicts need not train again.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return record
