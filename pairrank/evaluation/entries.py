"""What competes in a leaderboard: out-of-fold predictions, and the numbers that were measured with them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, predictions_hash, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.history import read_history
from pairrank.evaluation.run_record import (
    RunRecord,
    find_run_record,
    read_record_file,
    read_run_record,
    write_record_file,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Out-of-fold predictions that compete, and what their run measured besides."""

    label: str
    predictions: Predictions
    record: RunRecord | None = None
    """The results of the run; None for a prediction file that no run of pairrank made."""
    test: Predictions | None = None


def entries_in(runs: Path, battles: Battles) -> list[Entry]:
    """Return the runs in a folder that were made on these battles; a warning names each one that is left out."""
    entries = []
    for file in sorted(runs.glob("[!.]*/metrics.json")):
        folder = file.parent
        try:
            record = read_run_record(folder)
            predictions = read_predictions(folder / "oof.csv")
            _refuse_borrowed(folder, predictions, record)
            _refuse_outdated(folder, record)
            # Earlier versions kept the history in a file of its own only.
            if not record.history:
                record = replace(record, history=tuple(read_history(folder / "history.csv")))
            test = read_predictions(folder / "test.csv") if (folder / "test.csv").is_file() else None
        except UserError as error:
            logger.warning(f"Left out: {error}")
            continue
        if not is_of(record, battles):
            logger.warning(f"Left out: {folder} is a run on other battles ({record.data.name}).")
            continue
        # A folder that its user has renamed shows both names: neither may pass for another experiment.
        label = record.label if record.label == folder.name else f"{folder.name} ({record.label})"
        entries.append(Entry(label, predictions, record, test))
    return entries


def is_of(record: RunRecord, battles: Battles) -> bool:
    """Whether a run was made on these battles, or on the first of them: the same ids are not enough."""
    limit = record.split.get("limit") or len(battles)
    return record.data.hash == battles.take(slice(limit)).content_hash()


def published_entries(folder: Path, data: str, battles: Battles) -> list[Entry]:
    """The entries that `publish` wrote.

    Raises UserError for predictions and a result that are not of one run, or of a run on other battles.
    """
    entries = []
    for file in sorted((folder / "predictions" / data).glob("[!.]*.csv")):
        predictions, label = read_predictions(file), file.name.removesuffix(".csv")
        result = folder / "results" / data / f"{label}.json"
        record = read_record_file(result) if result.is_file() else None
        if record:
            _refuse_borrowed(file, predictions, record)
            if not is_of(record, battles):
                raise UserError(
                    f"{file}: published for other battles than those of --data, though called {data} too."
                )
        test = folder / "submissions" / data / file.name
        entries.append(Entry(label, predictions, record, read_predictions(test) if test.is_file() else None))
    return entries


def publish(folder: Path, data: str, entries: Sequence[Entry]) -> None:
    """Write each entry's predictions and result where a later comparison finds them; no text of any battle.

    What an earlier publication left under the same label and this entry lacks is removed: it is another's.
    """
    for entry in entries:
        entry.predictions.write(folder / "predictions" / data / f"{entry.label}.csv")
        result = folder / "results" / data / f"{entry.label}.json"
        submission = folder / "submissions" / data / f"{entry.label}.csv"
        if entry.record:
            write_record_file(entry.record, result)
        else:
            result.unlink(missing_ok=True)
        if entry.test is not None and entry.record and entry.record.is_complete and entry.record.is_submittable:
            entry.test.write(submission)
        else:
            submission.unlink(missing_ok=True)


def _refuse_outdated(folder: Path, record: RunRecord) -> None:
    """Raise UserError if what a run was built on has been made anew since."""
    for label, predictions in record.inputs.items():
        now = find_run_record(folder.parent / label)
        if now and now.predictions != predictions:
            raise UserError(f"{folder}: made on other predictions of {label} than there are now. Run it again.")


def _refuse_borrowed(place: Path, predictions: Predictions, record: RunRecord) -> None:
    """Raise UserError if these numbers were measured on other predictions than these."""
    if record.predictions != predictions_hash(predictions):
        raise UserError(
            f"{place}: the numbers beside these predictions belong to others. Run {record.label} again."
        )
