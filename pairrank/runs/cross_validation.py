"""Every battle is predicted by a model that was not trained on its prompt."""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pairrank import distributed
from pairrank.atomic import locked
from pairrank.data.battles import Battles
from pairrank.data.extra import ExtraUsage, PseudoLabels
from pairrank.data.folds import split_keys, uneven
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.run_record import RunRecord
from pairrank.files import sha256_of, write_text
from pairrank.models.saving import load_model
from pairrank.progress import with_progress
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.fold import SWAPPED, FoldTask, collective_fold, fit_and_predict, save_fold
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.fold_record import (
    FoldRecord,
    FoldStart,
    read_fold_record,
    read_fold_start,
    write_fold_record,
    write_fold_start,
)
from pairrank.runs.folder import (
    damaged_fold_files,
    has_test_predictions,
    is_of_other_battles,
    read_matching,
    refuse_other_battles,
    remove_dead_links,
    test_file,
)
from pairrank.runs.former import keep_former
from pairrank.runs.identity import identity_of
from pairrank.runs.provenance import restart_peak_memory
from pairrank.runs.results import write_results
from pairrank.runs.run import Run, all_inputs, inner_run, is_reusable
from pairrank.runs.teaching import Teacher, Teaching, fit_teaching
from pairrank.runs.training_rows import attach_predictions, split_fold, training_rows
from pairrank.training.tracking import tracked, untracked

NOT_NESTED = (
    "its inputs come from models that were trained on the winners of the scored fold, so its log loss may be wrong "
    "by 0.01 in either direction. With [split] nested = true, the inputs are trained again inside each fold."
)
"""Warning for a model that learns from inputs which are not nested."""

TEST_TEXTS = "it has learned from the texts of the test file, without winners."
"""Warning for a model that was trained on battles of the test file, or that builds on such a model."""

TRACKED = ("log_loss", "training_seconds", "predict_seconds", "swap_gap", "flip_rate", "peak_memory_mb")
"""Fields of a fold's record that are sent to the tracker, if one is in use."""

logger = logging.getLogger(__name__)


def cross_validate(run: Run, folds: Sequence[int] | None = None) -> RunRecord:
    """Train one model per fold, predict the fold it was not trained on and the test battles; return the results.

    `folds` are the ones to train, by default all. Inputs that are not complete are run first. A fold that is
    finished and whose identity (experiment, data, split, code) has not changed is used again, an interrupted
    fine-tuning resumes from its last complete epoch, and every other fold is trained from the beginning. Raises
    UserError if the run's folder contains work on other battles, or if a fold leaves no battles to learn from or to
    score.
    """
    refuse_other_battles(run.folder, run.data_record)
    remove_dead_links(run.folder)
    for each in run.inputs:
        if not is_reusable(each):
            cross_validate(each)
    if run.inputs:
        # A copy has no cached properties, which may be older than the inputs.
        run = replace(run)
    if run.data.test is not None and (repairs := run.data.test.repairs):
        logger.info("%s: %d repairs in the test file; the first: %s", run.data.path, len(repairs), repairs[0])
    if run.battles.soft is not None and run.experiment.parameters.get("soft_targets") is not True:
        logger.info("%s: the soft winners of the battles have no effect on a model without soft_targets", run.title)
    start = FoldStart(identity_of(run), run.data_record)
    if not run.enclosing:  # what a step inside another run has replaced is no result
        keep_former(run.folder, start.identity)
        if warning := uneven(split_keys(run.battles)):
            logger.warning("%s: %s", run.title, warning)
    _write_experiment(run)
    chosen = range(run.experiment.folds) if folds is None else folds
    for fold in with_progress(chosen, f"{run.title}, folds"):
        _finish_fold(run, fold, start)
    return write_results(run, start)


def make_fold(run: Run, fold: int) -> None:
    """Train, predict and save one fold of a run whose inputs are finished; other processes may do other folds."""
    refuse_other_battles(run.folder, run.data_record)
    start = FoldStart(identity_of(run), run.data_record)
    keep_former(run.folder, start.identity)
    _finish_fold(run, fold, start)


def assist_rank_zero(runs: Sequence[Run]) -> None:
    """Train and predict fine-tuned folds together with the first process until it has no more of them.

    All processes of torchrun except the first call this. They write only their share of a checkpoint.
    """
    known = {str(each.folder): each for run in runs for each in (*all_inputs(run), run)}
    while request := distributed.next_task():
        run, fold = known[request["folder"]], request["fold"]
        task = _prepare_fold(run, fold, "")
        with collective_fold(task, run.folder, fold, bool(run.enclosing)):
            fit_and_predict(task)


def training_battles(run: Run, fold: int) -> tuple[Battles, list[ExtraUsage]]:
    """Return the battles that one fold's model is trained on, and the usage of each source of extra battles."""
    inputs = run.inputs if run.experiment.nested else ()
    predictions = {each.experiment.column: _inner_predictions(run, fold, each) for each in inputs}
    used = run.used_in(fold)
    battles, fold_index = run.train.take(used), run.fold_index[used]
    learned, _ = split_fold(battles, fold_index, fold)
    teaching = _teach(run, fold, learned) if run.teachers else None
    rows, usage = training_rows(
        battles,
        fold_index,
        fold,
        predictions,
        teaching.targets(learned) if teaching else None,
        run.experiment.extra,
        run.test_prompts,
        PseudoLabels(teaching.predict, run.data.unlabelled) if teaching else None,
    )
    for source in usage:
        logger.info("%s, fold %d: %s", run.title, fold, source)
    return rows, usage


def _teach(run: Run, fold: int, learned: Battles) -> Teaching:
    """Train the teachers on the training battles of a fold, which are `learned`, and calibrate them there."""
    teachers = [
        Teacher(each.experiment.column, inner_run(run, fold, each).folder, _inner_predictions(run, fold, each))
        for each in run.teachers
    ]
    return fit_teaching(teachers, run.experiment.teacher_weight, learned)


def _write_experiment(run: Run) -> None:
    """Write the resolved experiment, and remove test predictions that may be of another one."""
    if run.chosen:
        # One file cannot hold the settings of all folds, and a run of such a file would be another experiment.
        (run.folder / RUN_FILE).unlink(missing_ok=True)
    else:
        text = run.experiment.to_toml()
        write_text(run.folder / RUN_FILE, text)
    (run.folder / "test.csv").unlink(missing_ok=True)


def _finish_fold(run: Run, fold: int, start: FoldStart) -> None:
    """Train, predict and save one fold; steps that were finished earlier are skipped."""
    folder, title = run.folder / f"fold{fold}", f"{run.title}, fold {fold}"
    scored = run.train.take(run.fold_index == fold)
    record = read_fold_record(folder)
    if record and _is_whole(folder, record, start) and read_matching(folder / "oof.csv", scored.id) is not None:
        if read_fold_start(folder) != start:  # damaged
            write_fold_start(start, folder)
        _reuse_fold(run, fold, record)
        return
    if record and record.identity == start.identity:
        damaged = ", ".join(damaged_fold_files(folder, record))
        logger.warning("%s: %s is missing or damaged, so the fold is trained again", title, damaged)
    if len(scored) == len(run.train):
        raise UserError(f"{title}: all {len(scored):,} battles are in this fold, so none are left to learn from.")
    _begin_fold(run, fold, start)
    with tracked(title, run.settings, run.folder.parent) as send:
        restart_peak_memory()
        task = _prepare_fold(run, fold, start.identity)
        with collective_fold(task, run.folder, fold, bool(run.enclosing)):
            outputs = fit_and_predict(task)
        record = save_fold(task, outputs)
        send({name: getattr(record, name) for name in TRACKED})
    logger.info("%s: %s battles, %.0f s%s", title, f"{len(scored):,}", record.training_seconds, _score(record))
    for warning in record.warnings:
        logger.info("%s: %s", title, warning)


def _reuse_fold(run: Run, fold: int, record: FoldRecord) -> None:
    """Keep a finished fold; predict the test battles again if they have changed."""
    folder, title, test = run.folder / f"fold{fold}", f"{run.title}, fold {fold}", run.test
    target = test_file(run.folder, fold)
    if test is None or has_test_predictions(run.folder, fold, record, test, run.test_hash):
        logger.info("%s: finished earlier, used again%s", title, _score(record))
        return
    reason = "new test battles" if record.test_hash != run.test_hash else "test battles, whose file is damaged"
    logger.info("%s: finished earlier; predicting the %s", title, reason)
    joined = run.test_in(fold)
    if joined is not None:
        Predictions(joined.id, load_model(folder).predict_proba(joined)).write(target)
    write_fold_record(replace(record, test_hash=run.test_hash, test_file=sha256_of(target)), folder)


def _begin_fold(run: Run, fold: int, start: FoldStart) -> None:
    """Prepare a fold's folder: keep files from which this configuration can resume, and remove all others."""
    folder = run.folder / f"fold{fold}"
    with locked(run.folder):  # an equal command may have begun or finished the fold at this moment
        begun, record = read_fold_start(folder), read_fold_record(folder)
        is_current = begun is not None and begun.identity == start.identity
        if is_current and (record is None or _is_whole(folder, record, start)):
            return
        if begun or record:
            reason = "its files are damaged or come from another experiment, encoder or code"
            logger.info("%s, fold %d: %s; training again", run.title, fold, reason)
        if folder.exists():
            shutil.rmtree(folder)
        test_file(run.folder, fold).unlink(missing_ok=True)
        write_fold_start(start, folder)


def _is_whole(folder: Path, record: FoldRecord, start: FoldStart) -> bool:
    """Return whether a finished fold is current and has all its files unchanged."""
    return record.identity == start.identity and not damaged_fold_files(folder, record)


def _prepare_fold(run: Run, fold: int, identity: str) -> FoldTask:
    """Train everything that is rebuilt inside a fold, and return the fold's task with all its battles."""
    begun = time.perf_counter()
    scored = run.train.take(run.fold_index == fold)
    train, usage = training_battles(run, fold)
    seconds = time.perf_counter() - begun
    logger.info("%s, fold %d: training on %s battles", run.title, fold, f"{len(train):,}")
    model = run.build(fold)
    leaks = bool(run.inputs) and not run.experiment.nested and model.learns
    return FoldTask(
        title=f"{run.title}, fold {fold}",
        fold=fold,
        folder=run.folder / f"fold{fold}",
        model=model,
        train=train,
        scored=scored,
        swapped=_swapped(run, fold, scored.take(slice(SWAPPED))),
        test=run.test_in(fold),
        test_file=test_file(run.folder, fold),
        identity=identity,
        test_hash=run.test_hash,
        symmetric_inputs=run.has_symmetric_inputs,
        warnings=_warnings(run, leaks),
        extra=tuple(asdict(source) | {"used": source.used} for source in usage),
        preparing_seconds=seconds,
    )


def _warnings(run: Run, leaks: bool) -> tuple[str, ...]:
    """Return what readers of the results must know; `leaks` says that inputs are not nested."""
    warnings = (
        NOT_NESTED if leaks else "",
        TEST_TEXTS if run.reads_test_texts else "",
        run.battles.label_warning(),
    )
    return tuple(filter(None, warnings))


def _swapped(run: Run, fold: int, battles: Battles) -> Battles:
    """Return the battles with A and B exchanged, with the inputs' predictions for that order."""
    turned = battles.swap()
    if run.has_symmetric_inputs:
        return turned
    models = {each.experiment.column: load_fold_models(each.folder) for each in run.inputs}
    return attach_predictions(turned, {name: each.predict_fold(fold, turned) for name, each in models.items()})


def _inner_predictions(run: Run, fold: int, template: Run) -> Predictions:
    """Return out-of-fold predictions of an experiment that is trained on this fold's training battles alone."""
    inner = inner_run(run, fold, template)
    if not distributed.rank():  # the first process finishes it before it sends a task to the others
        _finish_inner(inner, template.experiment.column, f"{run.title}, fold {fold}")
    return read_predictions(inner.folder / "oof.csv")


def _finish_inner(inner: Run, name: str, place: str) -> None:
    """Run an experiment inside a fold, with everything it builds on."""
    for each in (*all_inputs(inner), inner):
        # A folder of another split has other training battles. It cannot be used, and it contains no user's work.
        if is_of_other_battles(each.folder, each.data_record):
            shutil.rmtree(each.folder)
    logger.info("%s: training %s on the training battles of this fold", place, name)
    # Always run: unlike an input next to the run, it must be of the current code and of these battles.
    with untracked():
        for each in (*all_inputs(inner), inner):
            cross_validate(each, sorted(set(each.fold_index.tolist())))


def _score(record: FoldRecord) -> str:
    if record.log_loss is None:
        return "; no battle is in this fold"
    return f" (log loss {record.log_loss:.4f})"
