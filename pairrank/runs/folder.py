"""What a run leaves in its folder, and how that is read again: nothing stale, damaged or half-written is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairrank.data.battles import Battles, Objects
from pairrank.data.predictions import Predictions, geometric_mean, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation import history
from pairrank.evaluation.metrics import read_metrics
from pairrank.files import read_json
from pairrank.runs.experiment import RUN_FILE

CURVES = "curves.png"
"""The picture of a run's history."""

FOLD_KEYS = {
    "identity",
    "test_hash",
    "battles",
    "log_loss",
    "training_seconds",
    "predict_seconds",
    "swap_gap",
    "peak_memory_mb",
    "symmetric",
    "report",
    "versions",
    "commit",
}
"""What fold.json holds; one that lacks any of it is damaged."""


def is_of_other_battles(folder: Path, data_hash: str) -> bool:
    """Whether a run's folder holds work on other battles, finished or not."""
    return any(before["hash"] != data_hash for before in _data_records(folder))


def refuse_other_battles(folder: Path, data: dict[str, Any]) -> None:
    """Raise UserError if a run's folder holds work on other battles, finished or not."""
    for before in _data_records(folder):
        if before["hash"] != data["hash"]:
            raise UserError(
                f"{folder}: holds a run on other battles ({before['name']}, {before['battles']:,} of them; "
                f"these are {data['name']}, {data['battles']:,}). Nothing was overwritten: give another folder "
                "with --runs, or remove that one."
            )


def _data_records(folder: Path) -> list[dict[str, Any]]:
    """What each record of a run says of its battles."""
    records = [folder / "metrics.json", *sorted(folder.glob("fold*/started.json"))]
    return [record["data"] for record in map(read_json, records) if record and record.get("data")]


def finished_folds(folder: Path, count: int, identity: str) -> dict[int, dict[str, Any]]:
    """fold.json of every fold that was finished under this identity."""
    found = {fold: read_fold(folder / f"fold{fold}") for fold in range(count)}
    return {fold: done for fold, done in found.items() if done and done["identity"] == identity}


def read_fold(folder: Path) -> dict[str, Any] | None:
    """fold.json; None where there is none, or it is damaged and so the fold to be made again."""
    done = read_json(folder / "fold.json")
    return done if done and done.keys() >= FOLD_KEYS else None


def read_kept(path: Path, ids: Objects) -> Predictions | None:
    """Predictions that were kept for these battles; None where the file is gone, damaged or of others."""
    try:
        kept = read_predictions(path)
    except UserError:
        return None
    return kept if kept.id.tolist() == ids.tolist() else None


def current_folds(folder: Path) -> dict[int, dict[str, Any]]:
    """The folds that the run's numbers come from; raises UserError where one of them has changed since."""
    metrics = read_metrics(folder)
    done = finished_folds(folder, metrics["experiment"]["split"]["folds"], metrics["identity"])
    if missing := [fold for fold in metrics["folds"] if fold not in done]:
        raise UserError(
            f"{folder}: the models of fold {', '.join(map(str, missing))} are gone, or of another configuration "
            f"than the run's numbers. Finish it with: run {folder / RUN_FILE}"
        )
    return {fold: done[fold] for fold in metrics["folds"]}


def test_file(folder: Path, fold: int) -> Path:
    """Where a run keeps what a fold's model says of the test battles."""
    return folder / "test" / f"fold{fold}.csv"


def write_test(folder: Path, test: Battles | None, folds: Sequence[int]) -> None:
    """Write test.csv, the geometric mean over these folds' models; no earlier configuration's is left."""
    kept = folder / "test.csv"
    members = [] if test is None else [read_kept(test_file(folder, fold), test.id) for fold in folds]
    whole = [member for member in members if member is not None]
    # A fold that was not asked for this time may have seen another test file: then `submit` predicts anew.
    if whole and len(whole) == len(folds):
        geometric_mean(whole).write(kept)
    else:
        kept.unlink(missing_ok=True)


def write_history(folder: Path, folds: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Write history.csv, one row an epoch of each fold, of models that are trained so; returns its rows.

    Curves that were drawn of earlier rows are removed.
    """
    rows = [{"Fold": fold, **row} for fold, done in folds.items() for row in done["report"].get("history", [])]
    (folder / CURVES).unlink(missing_ok=True)
    if rows:
        history.write_history(rows, folder / "history.csv")
    else:
        (folder / "history.csv").unlink(missing_ok=True)
    return rows
