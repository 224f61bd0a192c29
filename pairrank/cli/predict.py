"""`submit` and `predict`: a trained run predicts the test battles, or any file of battles."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pairrank.atomic import atomic_path
from pairrank.cli.console import say, show_count, show_repairs, warn
from pairrank.cli.entries import run_folder
from pairrank.cli.locations import find_source, home_of
from pairrank.cli.ray import Cluster, scorer
from pairrank.data.battles import DETAILS, MODELS, Battles
from pairrank.data.folder import sample_data
from pairrank.data.predictions import (
    COLUMNS,
    Predictions,
    geometric_mean,
    prediction_lines,
    quoted,
    read_predictions,
)
from pairrank.data.reading import stream_battles
from pairrank.errors import UserError, unknown_name
from pairrank.evaluation.entries import is_run_on
from pairrank.evaluation.run_record import RunRecord, read_run_record
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.fold_models import load_averaged_model, load_fold_models, refuse_stale
from pairrank.runs.folder import current_folds, has_test_predictions, test_file

COPIED = (*MODELS, *DETAILS, "both_bad", "strength")
"""Columns of battles that `predict` can copy."""


def submit(name: str, data: Path | None, runs: Path | None, out: Path, averaged: bool = False) -> None:
    """Write the predictions of a run for test.csv, and check the file that was written.

    With `averaged`, one model with the mean of the folds' adapters predicts them.
    """
    source = find_source(data)
    test = source.test
    if test is None or not len(test):
        raise UserError(f"{source.path}: expected battles in test.csv, found none, so there is nothing to submit.")
    if test.lost_rows:
        raise UserError(
            f"{source.path}: {test.lost_rows:,} rows of the test file hold no battle, and a submission without "
            "them is not valid. `check` lists them. Correct them first."
        )
    refuse_out(out, *filter(None, map(source.file_of, ("train", "test"))))
    folder = run_folder(name, home_of(runs, source))
    refuse_stale(folder)
    record = read_run_record(folder)
    options = "".join(f" {key} {value}" for key, value in (("--data", data), ("--runs", runs)) if value)
    _refuse_unsubmittable(folder, record, options)
    say(f"Submitting {folder}, trained on {record.data.battles:,} battles of {record.data.name}.")
    if source.is_sample:
        warn("THIS SUBMISSION IS FOR THE SIMULATED SAMPLE, NOT FOR A COMPETITION. Name your data with --data.")
    show_repairs(test.repairs)
    predictions = load_averaged_model(folder).predict(test) if averaged else _test_predictions(folder, test)
    predictions.write(out)
    # The file is what will be scored, so it is read again and compared with test.csv.
    written = read_predictions(out)
    if written.id.tolist() != test.id.tolist():
        raise UserError(f"{out}: its ids are not those of the test battles, in their order. Please report this.")
    a, b, tie = written.proba.mean(axis=0)
    say(f"Written: {out}, {len(written):,} battles, valid. A wins {a:.1%}, B {b:.1%}, tie {tie:.1%} on average.")


def _refuse_unsubmittable(folder: Path, record: RunRecord, options: str) -> None:
    """Raise UserError for a diagnostic, and for a run that is not complete; `options` are those of its data."""
    if not record.is_submittable:
        raise UserError(
            f"{folder.name}: a diagnostic is not submittable, because it uses columns that test battles lack."
        )
    if not record.is_complete:
        raise UserError(
            f"{folder}: only fold {', '.join(map(str, record.folds))} of {record.split['folds']} is trained, and a "
            f"submission is the mean of all. Finish the run with: run {folder / RUN_FILE}{options}"
        )


def _test_predictions(folder: Path, test: Battles) -> Predictions:
    """Return the test predictions of a run; if test.csv has changed since, its saved models predict it again."""
    folds, test_hash = current_folds(folder), test.content_hash()
    if all(has_test_predictions(folder, fold, record, test, test_hash) for fold, record in folds.items()):
        return geometric_mean([read_predictions(test_file(folder, fold)) for fold in folds])
    say("The run has no predictions for these test battles, so its saved models predict them now.")
    return load_fold_models(folder).predict(test)


def predict(
    name: str,
    file: Path,
    out: Path,
    data: Path | None,
    runs: Path | None,
    cluster: Cluster | None = None,
    copied: Sequence[str] = (),
    schema: str = "",
    averaged: bool = False,
) -> None:
    """Predict a file of battles with the fold models of a run, in this process or on a cluster.

    The columns `copied` of the battles follow the probabilities. `schema` is that of the file; with "", its columns
    tell. With `averaged`, one model with the mean of the folds' adapters predicts, in this process only.
    """
    refuse_out(out, file)
    if averaged and cluster:
        raise UserError("--average-adapters: one model predicts in this process. Leave out --engine ray.")
    if unknown := [column for column in copied if column not in COPIED]:
        raise UserError(f"--copy {unknown[0]}: {unknown_name('column', unknown[0], COPIED)}")
    source = find_source(data)
    folder = run_folder(name, home_of(runs, source))
    record, count, repaired = read_run_record(folder), 0, 0
    load = load_averaged_model if averaged else load_fold_models
    score = scorer(folder, cluster) if cluster else partial(map, load(folder).predict)
    say(f"Predicting with {folder}, trained on {record.data.battles:,} battles of {record.data.name}.")
    sample = sample_data()
    if file.resolve().parent != sample.path.resolve() and is_run_on(record, sample.train):
        warn("THIS RUN HAS LEARNED FROM THE SIMULATED SAMPLE OF PAIRRANK, NOT FROM REAL BATTLES. See --data.")
    if not record.is_complete:
        every = record.split["folds"]
        say(f"{folder.name}: only {len(record.folds)} of {every} folds are trained; predicting with these.")

    waiting: deque[Battles] = deque()  # parts that are being predicted, in their order

    def repaired_parts() -> Iterator[Battles]:
        """Read the file in parts, and report the repairs of each."""
        nonlocal repaired
        for battles in stream_battles(file, schema=schema):
            show_repairs(battles.repairs, repaired)
            repaired += len(battles.repairs)
            if len(battles):
                if copied:
                    waiting.append(battles)
                yield battles

    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        target.write(",".join([*COLUMNS, *copied]) + "\n")
        for predictions in score(repaired_parts()):
            lines = prediction_lines(predictions.validate(str(file)))
            target.writelines(_with_columns(lines, waiting.popleft(), copied) if copied else lines)
            count += len(predictions)
            show_count(f"{count:,} battles")
    say(f"Written: {out}, {count:,} battles, {repaired:,} repairs.")


def _with_columns(lines: Sequence[str], battles: Battles, names: Sequence[str]) -> Iterator[str]:
    """Yield lines of predictions followed by columns of the battles; a column that the file lacks is empty."""
    columns = battles.columns()
    cells = [[""] * len(lines) if (column := columns[name]) is None else column.tolist() for name in names]
    for line, *values in zip(lines, *cells, strict=True):
        yield ",".join([line.rstrip("\n"), *(quoted(str(value)) for value in values)]) + "\n"


def refuse_out(out: Path, *read: Path) -> None:
    """Raise UserError for an output that is a folder, a file that is read or not CSV."""
    if out.suffix.lower() in (".parquet", ".gz", ".jsonl", ".json"):
        raise UserError(f"--out {out}: expected a .csv file, because predictions are written in Kaggle's format.")
    if out.is_dir():
        raise UserError(f"--out {out}: this is a folder. Expected the path of a file to write.")
    if out.resolve() in [file.resolve() for file in read]:
        raise UserError(f"--out {out}: the battles are read from this file. Use another one.")
