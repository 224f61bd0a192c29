"""A trained run predicts the test battles, any file of battles, or battles in memory."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pairrank.api.cross_validation import CrossValidation
from pairrank.api.entries import run_folder
from pairrank.api.outputs import refuse_out
from pairrank.api.sources import BattlesLike, DataLike, Source, as_battles, files_of, find_source, home_of
from pairrank.atomic import atomic_path
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
from pairrank.data.reading import read_battles, stream_battles
from pairrank.errors import UserError, unknown_name
from pairrank.evaluation.entries import is_run_on
from pairrank.evaluation.run_record import RunRecord, read_run_record
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.fold_models import FoldModels, load_averaged_model, load_fold_models, refuse_stale
from pairrank.runs.folder import current_folds, has_test_predictions, test_file

logger = logging.getLogger(__name__)

COPIED = (*MODELS, *DETAILS, "both_bad", "strength")
"""Columns of battles that `predict_file` can copy."""

SHOWN_REPAIRS = 10
"""Number of repairs of a file that are logged."""

RunLike: TypeAlias = str | CrossValidation
"""The name of a run, or the result of `cross_validate`."""
Score: TypeAlias = Callable[[Iterable[Battles]], Iterator[Predictions]]
"""A function that predicts parts of battles in their order."""


@dataclass(frozen=True)
class PredictedFile:
    """A file of predictions that was written."""

    path: Path
    battles: int
    repairs: int
    """Damaged rows that were repaired, and so predicted."""


def submit(
    run: RunLike,
    data: DataLike = None,
    out: str | Path = "submission.csv",
    *,
    runs: str | Path | None = None,
    average_adapters: bool = False,
) -> Predictions:
    """Write the predictions of a run for the test battles, check the file that was written, and return them.

    It is the command `submit`. If the test battles have changed since the run, its saved models predict them again.
    With `average_adapters`, one model with the mean of the folds' adapters predicts them. Raises UserError for a
    run that is a diagnostic or lacks a fold, and if there is nothing to submit.
    """
    out = Path(out)
    source, folder = _find_run(run, data, runs)
    test = source.test
    if test is None or not len(test):
        raise UserError(f"{source.path}: expected battles in test.csv, found none, so there is nothing to submit.")
    if test.lost_rows:
        raise UserError(
            f"{source.path}: {test.lost_rows:,} rows of the test file hold no battle, and a submission without "
            "them is not valid. `check` lists them. Correct them first."
        )
    refuse_out(out, *files_of(source))
    refuse_stale(folder)
    record = read_run_record(folder)
    options = "".join(f" {key} {value}" for key, value in (("--data", data), ("--runs", runs)) if _is_path(value))
    _refuse_unsubmittable(folder, record, options)
    logger.info(f"Submitting {folder}, trained on {record.data.battles:,} battles of {record.data.name}.")
    if source.is_sample:
        logger.warning(
            "THIS SUBMISSION IS FOR THE SIMULATED SAMPLE, NOT FOR A COMPETITION. Name your data with --data."
        )
    _log_repairs(test.repairs)
    predicted = load_averaged_model(folder).predict(test) if average_adapters else _test_predictions(folder, test)
    predicted.write(out)
    # The file is what will be scored, so it is read again and compared with test.csv.
    written = read_predictions(out)
    if written.id.tolist() != test.id.tolist():
        raise UserError(f"{out}: its ids are not those of the test battles, in their order. Please report this.")
    a, b, tie = written.proba.mean(axis=0)
    means = f"A wins {a:.1%}, B {b:.1%}, tie {tie:.1%} on average."
    logger.info(f"Written: {out}, {len(written):,} battles, valid. {means}")
    return written


def _is_path(value: object) -> bool:
    return isinstance(value, str | Path)


def _find_run(run: RunLike, data: DataLike, runs: str | Path | None) -> tuple[Source, Path]:
    """Return the data of a run and its folder; a result of `cross_validate` has its own if none are given."""
    if isinstance(run, CrossValidation):
        return (run.source if data is None else find_source(data)), run.folder
    source = find_source(data)
    return source, run_folder(run, home_of(runs, source))


def _log_repairs(repairs: Sequence[str], before: int = 0) -> None:
    """Log the first repairs of a file; `before` is the number of repairs in its earlier parts."""
    for repair in repairs[: max(0, SHOWN_REPAIRS - before)]:
        logger.warning("Repaired: %s", repair)
    if before <= SHOWN_REPAIRS < before + len(repairs):
        logger.warning("… and more")


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
    logger.info("The run has no predictions for these test battles, so its saved models predict them now.")
    return load_fold_models(folder).predict(test)


def predict(
    run: RunLike,
    battles: "BattlesLike | str | Path",
    data: DataLike = None,
    *,
    runs: str | Path | None = None,
    schema: str = "",
    average_adapters: bool = False,
) -> Predictions:
    """Return the predictions of a run for battles in memory, or for a file that fits into memory.

    The probabilities are those that the command `predict` writes; `predict_file` does that for a file of any size.
    `data` and `runs` say where the run is, as for the command, and `schema` is that of the file. Damaged battles
    are repaired, predicted and logged.

    >>> import pairrank
    >>> result = pairrank.cross_validate("prior")
    >>> battles = pairrank.read_battles(result.source.path / "test.csv")
    >>> pairrank.predict(result, battles).proba.shape
    (150, 3)
    """
    _, folder = _find_run(run, data, runs)
    models = _load(folder, average_adapters)
    if isinstance(battles, str | Path):
        found = read_battles(battles, damage="repair", schema=schema)
    else:
        found = as_battles(battles, "repair")
    _log_repairs(found.repairs)
    return models.predict(found)


def predict_file(
    run: RunLike,
    file: str | Path,
    out: str | Path,
    data: DataLike = None,
    *,
    runs: str | Path | None = None,
    copy: Sequence[str] = (),
    schema: str = "",
    average_adapters: bool = False,
    score_with: Callable[[Path], Score] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> PredictedFile:
    """Predict a file of battles of any size with the fold models of a run, and write the predictions to `out`.

    It is the command `predict`.

    - `copy`: columns of the battles that follow the probabilities, such as "language".
    - `schema`: the schema of the file; "" if its columns tell.
    - `average_adapters`: predict with one model that has the mean of the folds' adapters.
    - `score_with`: returns, for the folder of a run, what predicts its parts elsewhere, such as on a cluster.
    - `progress`: is called with the number of battles predicted so far.

    Raises UserError for a run that is not there or has changed, and for an output that is not a .csv file.
    """
    file, out = Path(file), Path(out)
    refuse_out(out, file)
    if average_adapters and score_with:
        raise UserError("--average-adapters: one model predicts in this process. Leave out --engine ray.")
    if unknown := [column for column in copy if column not in COPIED]:
        raise UserError(f"--copy {unknown[0]}: {unknown_name('column', unknown[0], COPIED)}")
    _, folder = _find_run(run, data, runs)
    record = read_run_record(folder)
    score = score_with(folder) if score_with else partial(map, _load(folder, average_adapters).predict)
    _log_run(folder, record, file)
    count = repaired = 0
    waiting: deque[Battles] = deque()  # parts that are being predicted, in their order

    def repaired_parts() -> Iterator[Battles]:
        """Read the file in parts, and log the repairs of each."""
        nonlocal repaired
        for battles in stream_battles(file, schema=schema):
            _log_repairs(battles.repairs, repaired)
            repaired += len(battles.repairs)
            if len(battles):
                if copy:
                    waiting.append(battles)
                yield battles

    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        target.write(",".join([*COLUMNS, *copy]) + "\n")
        for predictions in score(repaired_parts()):
            lines = prediction_lines(predictions.validate(str(file)))
            target.writelines(_with_columns(lines, waiting.popleft(), copy) if copy else lines)
            count += len(predictions)
            progress(count)
    logger.info(f"Written: {out}, {count:,} battles, {repaired:,} repairs.")
    return PredictedFile(out, count, repaired)


def _load(folder: Path, average_adapters: bool) -> FoldModels:
    return (load_averaged_model if average_adapters else load_fold_models)(folder)


def _log_run(folder: Path, record: RunRecord, file: Path) -> None:
    """Log which run predicts a file, and what a reader of the predictions should know about it."""
    logger.info(f"Predicting with {folder}, trained on {record.data.battles:,} battles of {record.data.name}.")
    sample = sample_data()
    if file.resolve().parent != sample.path.resolve() and is_run_on(record, sample.train):
        logger.warning(
            "THIS RUN HAS LEARNED FROM THE SIMULATED SAMPLE OF PAIRRANK, NOT FROM REAL BATTLES. See --data."
        )
    if not record.is_complete:
        every = record.split["folds"]
        logger.info(f"{folder.name}: only {len(record.folds)} of {every} folds are trained; predicting with these.")


def _with_columns(lines: Sequence[str], battles: Battles, names: Sequence[str]) -> Iterator[str]:
    """Yield lines of predictions followed by columns of the battles; a column that the file lacks is empty."""
    columns = battles.columns()
    cells = [[""] * len(lines) if (column := columns[name]) is None else column.tolist() for name in names]
    for line, *values in zip(lines, *cells, strict=True):
        yield ",".join([line.rstrip("\n"), *(quoted(str(value)) for value in values)]) + "\n"
