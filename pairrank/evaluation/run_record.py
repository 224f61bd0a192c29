"""The record of a run: its configuration, scores and costs; only this module reads and writes metrics.json."""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pairrank.data.battles import TEXTS
from pairrank.errors import UserError, excerpt
from pairrank.files import read_json, reading, write_json
from pairrank.nested import from_mapping

FILE = "metrics.json"

FORMER = "history"
"""Folder, next to the runs, of the former results of runs."""

ENTERED = "entries"
"""Folder, next to the runs, of entries that were made elsewhere."""

RESERVED = (FORMER, ENTERED)
"""Names that no run can have."""

VERSION = 1
"""Version of the file format. Files without one are older; fields that they lack get their default values."""

MOST_FOLDS = 10_000
"""Most folds of a run."""

WHOLE_NUMBERS = ("limit", "train_size", "train_sample")
"""Keys of the table split that may be missing and otherwise are whole numbers."""

OPTIONAL = ("tuned_on", "chosen", "history", "extra", "kept", "lost_a_side", "alone", "test_predictions")
"""Keys that are written only if they have a value."""


SHARED_CHANGES = ("salt", "limit", "nested", "extra", "evidence")
"""Keys of changes that are no hyperparameters of the model."""


class NewerVersionError(UserError):
    """A record was written by a newer version of pairrank, so it must be neither used nor overwritten."""


def newer_version(place: Path | str, version: object, known: int) -> NewerVersionError:
    """Return the error for a record of a version above the one that is known."""
    return NewerVersionError(
        f"{place}: format version {excerpt(version)}, expected {known} or less. It was written by a newer "
        "pairrank; update this one, or choose another folder with --runs."
    )


@dataclass(frozen=True)
class DataRecord:
    """The battles that a run was made on."""

    name: str
    hash: str
    """`Battles.content_hash` of the battles with winners."""
    battles: int
    settings: str = ""
    """The settings in data.toml that differ from the default ones; "" in older records."""


@dataclass(frozen=True)
class EncoderRecord:
    """The pretrained encoder that a run used."""

    name: str
    sha256: str
    """Hash of model.safetensors."""


@dataclass(frozen=True)
class OwnCost:
    """The cost of a run without that of its inputs."""

    training_seconds: float | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class RunRecord:
    """The results of a run: how it was configured, what it scored and what it cost."""

    label: str
    """Name of the run and of its folder."""
    experiment: dict[str, Any]
    """The resolved experiment as plain values, with at least the tables `model` and `split`."""
    data: DataRecord
    folds: tuple[int, ...]
    """The folds that are trained."""
    identity: str
    """Hash of everything that the results depend on."""
    predictions: str | None = None
    """Hash of the out-of-fold predictions (`predictions_hash`)."""
    test_predictions: str | None = None
    """Hash of the predictions for the test battles, if test.csv has them."""
    inputs: dict[str, str | None] = field(default_factory=dict)
    """Label of each input, and the hash of the predictions that were read from it."""
    log_loss: float | None = None
    """Mean out-of-fold log loss in nats; None if every trained fold was part of the search for the setting."""
    accuracy: float | None = None
    tuned_on: tuple[int, ...] = ()
    """Folds that a search for the setting has used; the scores leave them out."""
    chosen: dict[str, dict[str, Any]] | None = None
    """The parameters of each fold, if a search inside that fold's training battles has chosen them; else None."""
    history: tuple[dict[str, float | None], ...] = ()
    """One row per fold and epoch of a fine-tuning, with the columns `Fold` and `history.HISTORY`."""
    symmetric: bool = False
    """Whether predictions for swapped battles are the swapped predictions by construction."""
    swap_gap: float | None = None
    flip_rate: float | None = None
    training_seconds: float | None = None
    """Training time of all folds, including that of the inputs."""
    battles_per_second: float | None = None
    """Battles predicted per second; None for a run with inputs, because it would leave out their cost."""
    peak_memory_mb: float | None = None
    """Largest peak memory of all folds, in MiB."""
    parameters: int | None = None
    """Number of fitted parameters, including those of the inputs."""
    encoder: EncoderRecord | None = None
    device: str | None = None
    commit: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """Warnings for readers of the results."""
    extra: tuple[list[dict[str, Any]], ...] = ()
    """For each fold, one entry per source of extra battles: how many were used, and how many were left out."""
    kept: dict[str, float] | None = None
    """Share of the tokens of prompt, A and B that the encoder's window kept."""
    lost_a_side: int | None = None
    """Number of scored battles that lost all tokens of one answer."""
    alone: OwnCost | None = None
    """The run's own cost, if training_seconds and parameters include those of its inputs."""

    @property
    def name(self) -> str:
        """Name of the experiment; the run's label in records that lack it."""
        return str(self.experiment.get("name", self.label))

    @property
    def column(self) -> str:
        """Name of its predictions among the inputs of another run."""
        return column_name(self.name, self.experiment.get("overrides") or ())

    @property
    def model(self) -> Mapping[str, Any]:
        """Name and hyperparameters of the model."""
        table: Mapping[str, Any] = self.experiment["model"]
        return table

    @property
    def split(self) -> Mapping[str, Any]:
        """How the battles were split: folds, salt, limit, nested; train_size and train_sample if set."""
        table: Mapping[str, Any] = self.experiment["split"]
        return table

    @property
    def training_part(self) -> tuple[int, int]:
        """Size and number of the subset of each fold's training battles; (0, 0) if all are used."""
        return int(self.split.get("train_size") or 0), int(self.split.get("train_sample") or 0)

    @property
    def is_complete(self) -> bool:
        """Whether every fold is trained."""
        return len(self.folds) == int(self.split["folds"])

    @property
    def is_submittable(self) -> bool:
        """Whether the model reads only columns that test battles have."""
        return bool(self.experiment.get("submittable", True))

    @property
    def scored_folds(self) -> tuple[int, ...]:
        """The trained folds that no search for the setting has used."""
        return tuple(fold for fold in self.folds if fold not in self.tuned_on)

    @property
    def own_cost(self) -> OwnCost:
        """Seconds and parameters without those of the inputs."""
        return self.alone or OwnCost(self.training_seconds, self.parameters)


def column_name(name: str, overrides: Iterable[str]) -> str:
    """Return the name of an experiment with the changes (key=value) that distinguish it from other inputs.

    The inputs of one run have the same split, so changes of the split, among others, are left out.
    """
    own = [change for change in overrides if change.partition("=")[0] not in SHARED_CHANGES]
    return "".join([name, *(f"+{change}" for change in own)])


def run_folders(home: Path) -> dict[str, Path]:
    """Return the folder of every run with results in the folder of the runs, by its name."""
    # Not by a pattern that ends in the file's name, which would leave out a link that leads nowhere.
    folders = sorted(folder for folder in home.glob("[!.]*") if os.path.lexists(folder / FILE))
    return {folder.name: folder for folder in folders}


def read_run_record(folder: Path) -> RunRecord:
    """Return the results in a run's folder; raises UserError if there are none that can be read."""
    return read_record_file(folder / FILE)


def read_record_file(file: Path) -> RunRecord:
    """Return the results in a JSON file that `write_record_file` wrote, now or in an earlier version.

    Raises UserError if the file is missing, damaged, or of a newer version.
    """
    if not file.is_file():
        raise UserError(f"{file.parent}: no finished run ({file.name} is missing). Run the experiment first.")
    with reading(file):
        values = read_json(file)
    if values is None:
        raise UserError(f"{file}: damaged file, expected a JSON object. Run the experiment again.")
    return record_from_json(values, file)


def find_run_record(folder: Path) -> RunRecord | None:
    """Return the results in a run's folder, or None if they are missing or damaged, and so can be replaced.

    Raises NewerVersionError for a record that must not be overwritten.
    """
    try:
        return read_run_record(folder)
    except NewerVersionError:
        raise
    except UserError:
        return None


def record_from_json(values: Mapping[str, Any], place: Path | str = FILE) -> RunRecord:
    """Return a record from the content of its JSON file; raises a UserError with all complaints."""
    version = values.get("version", 0)
    if not isinstance(version, int) or version > VERSION:
        raise newer_version(place, version, VERSION)
    try:
        record: RunRecord = from_mapping(RunRecord, values, str(place), ignore_unknown=True)
    except UserError as error:
        raise UserError(f"{error} Run the experiment again.") from None
    if wrong := _missing_settings(record.experiment):
        raise UserError(f"{place}: the experiment lacks {wrong}. Run the experiment again.")
    if strange := [name for name in (record.label, *record.inputs) if not is_folder_name(name)]:
        raise UserError(f"{place}: {excerpt(strange[0])} is not the name of a run. Run the experiment again.")
    if record.label in record.inputs:
        raise UserError(f"{place}: the run names itself as an input. Run the experiment again.")
    if wrong := _wrong_folds(record) or _missing_measurements(record):
        raise UserError(f"{place}: expected {wrong}. Run the experiment again.")
    return record


def is_folder_name(name: str) -> bool:
    """Return whether a name is that of a folder in the folder of the runs, and of a file that may be published.

    Records come from anywhere, so a name must not lead to another folder.
    """
    is_plain = not any(c in "/\\" or unicodedata.category(c) in ("Cc", "Cs") for c in name)
    return is_plain and bool(name.strip()) and not name.startswith(".") and name not in RESERVED


def record_to_json(record: RunRecord) -> dict[str, Any]:
    """Return a record as the content of its JSON file."""
    values = asdict(record)
    if not record.data.settings:
        del values["data"]["settings"]
    last = ("identity", "predictions")
    empty: tuple[object, ...] = (None, (), {})
    names = [f.name for f in fields(record) if f.name not in last]
    names = [name for name in names if name not in OPTIONAL or values[name] not in empty]
    return {"version": VERSION} | {name: values[name] for name in (*names, *last)}


def write_record_file(record: RunRecord, file: Path) -> None:
    """Write a record as JSON."""
    values = record_to_json(record)
    write_json(file, values)


def write_run_record(record: RunRecord, folder: Path) -> None:
    """Write the results into a run's folder."""
    write_record_file(record, folder / FILE)


def _missing_settings(experiment: Mapping[str, Any]) -> str:
    """Return what is missing from an experiment that other modules need; "" if nothing is."""
    model, split = experiment.get("model"), experiment.get("split")
    if not isinstance(model, Mapping) or not isinstance(model.get("name"), str):
        return "a table model with a name"
    if not isinstance(split, Mapping) or type(split.get("folds")) is not int:
        return "a table split with a number of folds"
    if wrong := [key for key in WHOLE_NUMBERS if not isinstance(split.get(key), int | None)]:
        return f"a whole number as {wrong[0]} in its table split"
    if not isinstance(model.get("seed"), int | None):
        return "a whole number as seed in its table model"
    if not isinstance(experiment.get("about", ""), str):
        return "a description (about) that is a string"
    return ""


def _wrong_folds(record: RunRecord) -> str:
    """Return what is expected of the numbers of folds; "" if they are right."""
    count = record.split["folds"]
    if not 2 <= count <= MOST_FOLDS:
        return f"2 to {MOST_FOLDS:,} folds in its table split"
    is_right = 1 <= len(set(record.folds)) == len(record.folds) and set(record.folds) <= set(range(count))
    return "" if is_right else f"one or more trained folds from 0 to {count - 1}, each once"


def _missing_measurements(record: RunRecord) -> str:
    """Return the missing measurements that tables and charts need; "" if there are none."""
    if record.kept is not None and not set(TEXTS) <= record.kept.keys():
        return f"the share of tokens kept of {', '.join(TEXTS)}"
    if any(row.get(column) is None for row in record.history for column in ("Fold", "Step")):
        return "Fold and Step in every row of the history"
    return ""
