"""What competes in a leaderboard: out-of-fold predictions, and the numbers that were measured with them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, predictions_hash, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.history import read_history
from pairrank.evaluation.metrics import read_metrics
from pairrank.files import read_json, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Out-of-fold predictions that compete, and what their run measured besides."""

    label: str
    predictions: Predictions
    metrics: dict[str, Any]
    """A run's metrics.json; empty for a file that somebody else made."""
    test: Predictions | None = None


def entries_in(runs: Path, battles: Battles) -> list[Entry]:
    """Return the runs in a folder that were made on these battles; a warning names each one that is left out."""
    entries = []
    for file in sorted(runs.glob("[!.]*/metrics.json")):
        folder = file.parent
        try:
            metrics = read_metrics(folder)
            predictions = read_predictions(folder / "oof.csv")
            _refuse_borrowed(folder, predictions, metrics)
            _refuse_outdated(folder, metrics)
            # Runs of earlier versions have it in a file of its own alone.
            if "history" not in metrics and (rows := read_history(folder / "history.csv")):
                metrics["history"] = rows
            test = read_predictions(folder / "test.csv") if (folder / "test.csv").is_file() else None
        except UserError as error:
            logger.warning(f"Left out: {error}")
            continue
        if not is_of(metrics, battles):
            logger.warning(f"Left out: {folder} is a run on other battles ({metrics['data']['name']}).")
            continue
        # A folder that its user has renamed shows both names: neither may pass for another experiment.
        label = metrics["label"] if metrics["label"] == folder.name else f"{folder.name} ({metrics['label']})"
        entries.append(Entry(label, predictions, metrics, test))
    return entries


def is_of(metrics: dict[str, Any], battles: Battles) -> bool:
    """Whether a run was made on these battles, or on the first of them: the same ids are not enough."""
    limit = metrics["experiment"]["split"].get("limit") or len(battles)
    return bool(metrics["data"]["hash"] == battles.take(slice(limit)).content_hash())


def published_entries(folder: Path, data: str, battles: Battles) -> list[Entry]:
    """The entries that `publish` wrote.

    Raises UserError for predictions and a result that are not of one run, or of a run on other battles.
    """
    entries = []
    for file in sorted((folder / "predictions" / data).glob("[!.]*.csv")):
        predictions, label = read_predictions(file), file.name.removesuffix(".csv")
        metrics = read_json(folder / "results" / data / f"{label}.json") or {}
        if metrics:
            _refuse_borrowed(file, predictions, metrics)
            if not is_of(metrics, battles):
                raise UserError(
                    f"{file}: published for other battles than those of --data, though called {data} too."
                )
        test = folder / "submissions" / data / file.name
        entries.append(Entry(label, predictions, metrics, read_predictions(test) if test.is_file() else None))
    return entries


def publish(folder: Path, data: str, entries: Sequence[Entry]) -> None:
    """Write each entry's predictions and result where a later comparison finds them; no text of any battle.

    What an earlier publication left under the same label and this entry lacks is removed: it is another's.
    """
    for entry in entries:
        entry.predictions.write(folder / "predictions" / data / f"{entry.label}.csv")
        result = folder / "results" / data / f"{entry.label}.json"
        submission = folder / "submissions" / data / f"{entry.label}.csv"
        if entry.metrics:
            write_json(result, entry.metrics)
        else:
            result.unlink(missing_ok=True)
        if entry.test is not None and is_complete(entry.metrics) and entry.metrics["experiment"]["submittable"]:
            entry.test.write(submission)
        else:
            submission.unlink(missing_ok=True)


def is_complete(metrics: dict[str, Any]) -> bool:
    """Whether every fold of a run is done."""
    return bool(metrics) and len(metrics["folds"]) == metrics["experiment"]["split"]["folds"]


def _refuse_outdated(folder: Path, metrics: dict[str, Any]) -> None:
    """Raise UserError if what a run was built on has been made anew since."""
    for label, predictions in metrics.get("inputs", {}).items():
        now = (read_json(folder.parent / label / "metrics.json") or {}).get("predictions", predictions)
        if now != predictions:
            raise UserError(f"{folder}: made on other predictions of {label} than there are now. Run it again.")


def _refuse_borrowed(place: Path, predictions: Predictions, metrics: dict[str, Any]) -> None:
    """Raise UserError if these numbers were measured on other predictions than these."""
    if metrics.get("predictions") != predictions_hash(predictions):
        raise UserError(
            f"{place}: the numbers beside these predictions belong to others. Run {metrics.get('label')} again."
        )
