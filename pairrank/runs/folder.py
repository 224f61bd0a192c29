"""The files in a run's folder; those that are stale, damaged or incomplete are not used."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairrank.data.battles import Battles, Objects
from pairrank.data.predictions import Predictions, geometric_mean, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation import history
from pairrank.evaluation.run_record import DataRecord, find_run_record, read_run_record
from pairrank.files import damaged_files
from pairrank.models.saving import damaged_model_files
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.fold_record import FOLD_FILE, FoldRecord, read_fold_record, read_fold_start

logger = logging.getLogger(__name__)

CURVES = "curves.png"
"""The plot of a run's history."""


def is_of_other_battles(folder: Path, data: DataRecord) -> bool:
    """Return whether a run's folder contains work on other battles, finished or not."""
    return any(found.hash != data.hash for found in _data_records(folder))


def refuse_other_battles(folder: Path, data: DataRecord) -> None:
    """Raise UserError if a run's folder contains work on other battles, finished or not."""
    for found in _data_records(folder):
        if found.hash != data.hash:
            raise UserError(
                f"{folder}: it contains a run on other battles ({_described(found)}; expected {_described(data)}). "
                "Nothing was overwritten. Choose another folder with --runs, or "
                "remove this one."
            )


def _described(data: DataRecord) -> str:
    """Return the number, name, hash and settings of battles, one of which differs from those of others."""
    settings = f", {data.settings}" if data.settings else ""
    return f"{data.battles:,} of {data.name}, hash {data.hash}{settings}"


def _data_records(folder: Path) -> list[DataRecord]:
    """Return the battles on which each recorded piece of work in a run's folder was made."""
    starts = [read_fold_start(file.parent) for file in sorted(folder.glob("fold*/started.json"))]
    records = [find_run_record(folder), *starts]
    return [record.data for record in records if record]


def remove_dead_links(folder: Path) -> None:
    """Remove links in a run's folder that lead to no file, so that results are not written to a device."""
    for path in (*folder.glob("*"), *folder.glob("test/*")):
        if path.is_symlink() and not path.is_file() and not path.is_dir():
            logger.warning("%s: a link that leads to no file; removed", path)
            path.unlink()


def finished_folds(folder: Path, count: int, identity: str) -> dict[int, FoldRecord]:
    """Return the record of every fold that was finished under this identity and has all its files unchanged."""
    found = {fold: read_fold_record(folder / f"fold{fold}") for fold in range(count)}
    return {
        fold: record
        for fold, record in found.items()
        if record and record.identity == identity and not damaged_fold_files(folder / f"fold{fold}", record)
    }


def damaged_fold_files(folder: Path, record: FoldRecord) -> list[str]:
    """Return the names of the files in a finished fold's folder that are missing or have changed since."""
    if record.fold is not None and folder.name != f"fold{record.fold}":
        return [FOLD_FILE]  # a copy of another fold
    # The files of the model are named only if model.json can be believed.
    return damaged_files(folder, record.files) or damaged_model_files(folder)


def has_test_predictions(folder: Path, fold: int, record: FoldRecord, test: Battles, test_hash: str) -> bool:
    """Return whether a finished fold has unchanged predictions of exactly these test battles.

    `folder` is that of the run, `test_hash` the `content_hash` of the battles.
    """
    file = test_file(folder, fold)
    if record.test_hash != test_hash or (
        record.test_file and damaged_files(file.parent, {file.name: record.test_file})
    ):
        return False
    return read_matching(file, test.id) is not None


def read_matching(file: Path, ids: Objects) -> Predictions | None:
    """Return the predictions in a file if they are of exactly these battles, in their order; otherwise None.

    A file that is missing or damaged gives None as well, so that its battles are predicted again.
    """
    try:
        found = read_predictions(file)
    except UserError:
        return None
    return found if found.id.tolist() == ids.tolist() else None


def current_folds(folder: Path) -> dict[int, FoldRecord]:
    """Return the folds that the run's results come from; raises UserError if one of them has changed since."""
    record = read_run_record(folder)
    done = finished_folds(folder, record.split["folds"], record.identity)
    if missing := [fold for fold in record.folds if fold not in done]:
        damaged = [
            f"fold{fold}/{name}"
            for fold in missing
            if (found := read_fold_record(folder / f"fold{fold}")) and found.identity == record.identity
            for name in damaged_fold_files(folder / f"fold{fold}", found)
        ]
        if damaged:
            raise UserError(
                f"{folder}: {', '.join(damaged)} is missing or damaged. To train this fold again: "
                f"run {folder / RUN_FILE}"
            )
        raise UserError(
            f"{folder}: the models of fold {', '.join(map(str, missing))} are missing or damaged, or belong to "
            f"another configuration than the run's results. Train them with: run {folder / RUN_FILE}"
        )
    return {fold: done[fold] for fold in record.folds}


def test_file(folder: Path, fold: int) -> Path:
    """Return the file with the predictions of a fold's model for the test battles."""
    return folder / "test" / f"fold{fold}.csv"


def read_out_of_fold(folder: Path, folds: Sequence[int]) -> Predictions:
    """Return the predictions for the scored battles of these folds, fold by fold."""
    parts = [read_predictions(folder / f"fold{fold}" / "oof.csv") for fold in folds]
    return Predictions.concatenate(parts)


def write_test(
    folder: Path, test: Battles | None, test_hash: str, folds: Mapping[int, FoldRecord]
) -> Predictions | None:
    """Write test.csv, the geometric mean over these folds' models, and return it, or remove an outdated one.

    A fold that was not trained this time may have no current predictions: then `submit` predicts again.
    """
    target = folder / "test.csv"
    if test is None or not all(
        has_test_predictions(folder, fold, record, test, test_hash) for fold, record in folds.items()
    ):
        target.unlink(missing_ok=True)
        return None
    mean = geometric_mean([read_predictions(test_file(folder, fold)) for fold in folds])
    mean.write(target)
    return mean


def write_history(folder: Path, folds: Mapping[int, FoldRecord]) -> list[dict[str, Any]]:
    """Write history.csv, one row per fold and epoch of models that are trained in epochs; return its rows.

    A plot of an earlier history is removed.
    """
    rows = [{"Fold": fold, **row} for fold, done in folds.items() for row in done.report.get("history", [])]
    (folder / CURVES).unlink(missing_ok=True)
    if rows:
        history.write_history(rows, folder / "history.csv")
    else:
        (folder / "history.csv").unlink(missing_ok=True)
    return rows
