"""Entries of a leaderboard: out-of-fold predictions, and the record of the run that made them, if there is one."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, predictions_hash, read_predictions
from pairrank.errors import UserError
from pairrank.evaluation.history import read_history
from pairrank.evaluation.manifest import (
    Manifest,
    entered_folders,
    is_stored,
    read_entered,
    remove_folder,
    write_entered,
)
from pairrank.evaluation.run_record import (
    ENTERED,
    RunRecord,
    find_run_record,
    read_record_file,
    read_run_record,
    run_folders,
    write_record_file,
)
from pairrank.memo import memoise

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Out-of-fold predictions to be compared with others."""

    label: str
    predictions: Predictions
    record: RunRecord | None = None
    """The results of the run; None for a prediction file that no run of pairrank made."""
    test: Predictions | None = None
    """The predictions of the same run for the test battles."""
    manifest: Manifest | None = None
    """Where the predictions come from, if they were made elsewhere and entered."""

    @property
    def is_known(self) -> bool:
        """Whether a run of pairrank made it or a manifest describes it, so that no added file may replace it."""
        return self.record is not None or self.manifest is not None


def entries_in(runs: Path, battles: Battles) -> list[Entry]:
    """Return the runs in the folder `runs` that were made on these battles; a warning names each one left out."""
    return _read_runs(run_folders(runs), battles)


def entered_in(home: Path, battles: Battles, excluded: Collection[str] = ()) -> list[Entry]:
    """Return the entries that were entered next to the runs in `home`; a warning names each one left out.

    `excluded` are the names of runs, which no entry can have.
    """
    entries, content_hash = [], battles.content_hash()
    for name, folder in entered_folders(home / ENTERED).items():
        try:
            if name in excluded:
                raise UserError(f"{folder}: a run has this name. Rename or remove one of them.")
            entries.append(read_entry(folder, battles, content_hash))
        except UserError as error:
            logger.warning(f"Left out: {error}")
    return entries


def read_entry(folder: Path, battles: Battles, content_hash: str = "") -> Entry:
    """Return the entry in a folder that `enter` wrote; raises UserError as `read_entered` does."""
    manifest, predictions = read_entered(folder, battles, content_hash)
    return Entry(manifest.name, predictions, manifest=manifest)


def former_entries(folders: Mapping[str, Path], battles: Battles) -> list[Entry]:
    """Return the former runs on these battles in the given folders by name; a warning names each one left out."""
    return _read_runs(folders, battles, are_former=True)


def published_entries(folder: Path, data: str, battles: Battles) -> list[Entry]:
    """Return the entries that `publish` wrote into `folder` for the data set of this name.

    Raises UserError for a damaged entry, and if a result belongs to other predictions or to a run on other battles.
    """
    entries, content_hash = [], battles.content_hash()
    for file in sorted((folder / "predictions" / data).glob("[!.]*.csv")):
        predictions, label = read_predictions(file), file.name.removesuffix(".csv")
        result = folder / "results" / data / f"{label}.json"
        record = read_record_file(result) if result.is_file() else None
        if record:
            _check_predictions(file, predictions, record)
            if not is_run_on(record, battles):
                raise UserError(
                    f"{file}: published for other battles than those of --data, although both are called {data}. "
                    "Choose the data that it was published for, or another folder."
                )
        test = folder / "submissions" / data / file.name
        entries.append(Entry(label, predictions, record, read_predictions(test) if test.is_file() else None))
    entered = entered_folders(folder / ENTERED / data).values()
    return entries + [read_entry(each, battles, content_hash) for each in entered]


def publish(folder: Path, data: str, entries: Sequence[Entry]) -> None:
    """Write each entry's predictions, record and submission into `folder`, without the text of any battle.

    Files of an earlier entry with the same label that this entry does not have are removed.
    """
    for entry in entries:
        predictions = folder / "predictions" / data / f"{entry.label}.csv"
        result = folder / "results" / data / f"{entry.label}.json"
        submission = folder / "submissions" / data / f"{entry.label}.csv"
        publish_manifest(folder, data, entry)
        if entry.manifest:
            predictions.unlink(missing_ok=True)
        else:
            entry.predictions.write(predictions)
        if entry.record:
            write_record_file(entry.record, result)
        else:
            result.unlink(missing_ok=True)
        if entry.test is not None and entry.record and entry.record.is_complete and entry.record.is_submittable:
            entry.test.write(submission)
        else:
            submission.unlink(missing_ok=True)


def publish_manifest(folder: Path, data: str, entry: Entry) -> None:
    """Write the folder of an entry that was made elsewhere into `folder`; remove that of any other entry."""
    home = folder / ENTERED / data
    target = home / entry.label
    if entry.manifest is None:
        if target.is_dir():
            remove_folder(target)
    elif not is_stored(target, entry.manifest):
        write_entered(home, entry.manifest, entry.predictions)


def is_run_on(record: RunRecord, battles: Battles) -> bool:
    """Return whether a run was made on these battles or, with a limit, on the first of them.

    The content of the battles is compared, because other battles may have the same ids.
    """
    return record.data.hash == _hash_of_first(battles, record.split.get("limit") or len(battles))


@memoise
def _hash_of_first(battles: Battles, limit: int) -> str:
    return (battles if limit >= len(battles) else battles.take(slice(limit))).content_hash()


def _read_runs(folders: Mapping[str, Path], battles: Battles, are_former: bool = False) -> list[Entry]:
    entries = []
    for name, folder in folders.items():
        try:
            entries.append(read_run(folder, battles, name if are_former else ""))
        except UserError as error:
            logger.warning(f"Left out: {error}")
    return entries


def read_run(folder: Path, battles: Battles, former: str = "") -> Entry:
    """Return the entry of a run's folder; raises UserError if it is damaged, outdated, or not on these battles.

    `former` is the name of a former run, whose inputs may have changed since.
    """
    record = read_run_record(folder)
    predictions = read_predictions(folder / "oof.csv")
    _check_predictions(folder, predictions, record)
    if not former:
        _check_inputs(folder, record)
    # Earlier versions kept the history in a file of its own only.
    if not record.history:
        record = replace(record, history=tuple(read_history(folder / "history.csv")))
    test = read_predictions(folder / "test.csv") if (folder / "test.csv").is_file() else None
    if test is not None and record.test_predictions not in (None, predictions_hash(test)):
        raise UserError(f"{folder / 'test.csv'}: it has changed since the run wrote it. Run {record.label} again.")
    if not is_run_on(record, battles):
        raise UserError(f"{folder} is a run on other battles ({record.data.name}).")
    # A renamed folder shows both names, so that it cannot be mistaken for another experiment.
    label = former or (record.label if record.label == folder.name else f"{folder.name} ({record.label})")
    return Entry(label, predictions, record, test)


def _check_inputs(folder: Path, record: RunRecord) -> None:
    """Raise UserError if an input of the run was trained again since, with other predictions."""
    for label, predictions in record.inputs.items():
        now = find_run_record(folder.parent / label)
        if now and now.predictions != predictions:
            raise UserError(
                f"{folder}: the predictions of its input {label} have changed. Run {record.label} again."
            )


def _check_predictions(place: Path, predictions: Predictions, record: RunRecord) -> None:
    """Raise UserError if the record was measured on other predictions."""
    if record.predictions != predictions_hash(predictions):
        raise UserError(
            f"{place}: the recorded results belong to other predictions than these. Run {record.label} again."
        )
