"""An entry that was made elsewhere is a folder with its predictions and a manifest, which is checked when read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pairrank.atomic import sync, temporary_folder
from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.errors import SHOWN, UserError, combined_error, excerpt
from pairrank.evaluation.json_schema import schema_complaints
from pairrank.evaluation.run_record import newer_version
from pairrank.files import damaged_files, read_json, reading, sha256_of, write_json
from pairrank.nested import from_mapping

MANIFEST, PREDICTIONS = "entry.json", "predictions.csv"
"""The files of an entry."""

VERSION = 1
"""Version of the manifest's format."""

Form = Literal["probabilities", "scores"]

REMEDY = "Remove this entry (rm) and enter the predictions again."


@dataclass(frozen=True)
class SourceFile:
    """The file that was entered."""

    name: str
    """Its name without the folder."""
    sha256: str


@dataclass(frozen=True)
class FittedNumbers:
    """What was fitted to scores outside of each fold, as the mean over the folds."""

    temperature: float
    tie_logit: float


@dataclass(frozen=True)
class StoredPredictions:
    """The file of predictions in the folder of an entry."""

    battles: int
    sha256: str


@dataclass(frozen=True)
class EnteredData:
    """The battles that were predicted."""

    name: str
    battles: int
    """Number of battles with a winner; an entry may have predicted fewer."""
    hash: str
    """`Battles.content_hash`."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Where the predictions of an entry come from. `entry.schema.json` is its format as a file."""

    name: str
    about: str
    """What made the predictions."""
    by: str
    """Who made them; "" if unknown."""
    url: str
    trained_on: str | None
    """The declared training data; None if none are declared."""
    entered: str
    """Time (UTC), such as 2026-11-27T08:15:00Z."""
    form: Form
    source: SourceFile | None
    fitted: FittedNumbers | None
    predictions: StoredPredictions
    data: EnteredData

    @property
    def is_whole(self) -> bool:
        """Whether every battle is predicted."""
        return self.predictions.battles == self.data.battles

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        address = f" ({self.url})" if self.url else ""
        trained_on = (self.trained_on or "not declared").rstrip(".")
        return f"made elsewhere{by}{address}. {self.about.rstrip('.')}. Training data: {trained_on}."


@cache
def manifest_schema() -> dict[str, Any]:
    """Return the published JSON Schema of a manifest."""
    text = files("pairrank.evaluation").joinpath("entry.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def field_complaints(values: Mapping[str, Any]) -> list[str]:
    """Return one complaint for each of these fields of a manifest that is not as its schema requires."""
    known = manifest_schema()["properties"]
    return [text for key, value in values.items() for text in schema_complaints(value, known[key], key)]


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as the content of its file."""
    return {"version": VERSION} | asdict(manifest)


def read_manifest(file: Path) -> Manifest:
    """Return the manifest in a file; raises UserError with all complaints."""
    with reading(file):
        values = read_json(file)
    if values is None:
        raise UserError(f"{file}: missing or damaged, expected a JSON object. {REMEDY}")
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise newer_version(file, version, VERSION)
    if complaints := schema_complaints(values, manifest_schema(), MANIFEST):
        raise combined_error(str(file), complaints, REMEDY)
    del values["version"]
    manifest: Manifest = from_mapping(Manifest, values, str(file))
    return manifest


def entered_folders(home: Path) -> dict[str, Path]:
    """Return the folder of each entry in `home` by its name."""
    folders = sorted(folder for folder in home.glob("[!.]*") if folder.is_dir())
    return {folder.name: folder for folder in folders}


def write_entered(folder: Path, manifest: Manifest, predictions: Predictions) -> Manifest:
    """Write an entry into the folder of its name in `folder`, and return its manifest with the hash of the file.

    The folder gets its name when it is complete; an entry of the same name is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / manifest.name
    with temporary_folder(folder) as temporary:
        new = temporary / "new"
        predictions.write(new / PREDICTIONS)
        stored = StoredPredictions(len(predictions), sha256_of(new / PREDICTIONS))
        manifest = replace(manifest, predictions=stored)
        write_json(new / MANIFEST, manifest_to_json(manifest))
        if target.exists():
            target.rename(temporary / "old")
        new.rename(target)
        sync(folder)
    return manifest


def is_stored(folder: Path, manifest: Manifest) -> bool:
    """Return whether a folder has exactly this manifest and its predictions."""
    is_same = read_json(folder / MANIFEST) == manifest_to_json(manifest)
    return is_same and not damaged_files(folder, {PREDICTIONS: manifest.predictions.sha256})


def remove_folder(folder: Path) -> None:
    """Remove a folder. It is renamed first, because what is removed in part must not count as a run or an entry."""
    with temporary_folder(folder.parent) as doomed:
        folder.rename(doomed / folder.name)


def read_entered(folder: Path, battles: Battles, content_hash: str = "") -> tuple[Manifest, Predictions]:
    """Return the manifest and the predictions of an entry on these battles.

    `content_hash` is that of the battles if it is known. Raises UserError with all complaints about the entry: a
    manifest that its schema refuses, or predictions that are damaged or are not those of the manifest.
    """
    manifest = read_manifest(folder / MANIFEST)
    predictions = read_predictions(folder / PREDICTIONS)
    complaints = [
        *_mismatches(folder, manifest, predictions),
        *_data_complaints(manifest, content_hash or battles.content_hash()),
        *id_complaints(predictions, battles, not manifest.is_whole),
    ]
    if complaints:
        raise combined_error(str(folder), complaints, REMEDY)
    return manifest, predictions


def id_complaints(predictions: Predictions, battles: Battles, is_partial: bool = False) -> list[str]:
    """Return complaints about ids that are not among the battles and, unless `is_partial`, about missing ones."""
    known, given = battles.id.tolist(), predictions.id.tolist()
    return [
        *_listed(given, set(known), "not among the battles of the data"),
        *([] if is_partial else _listed(known, set(given), "no prediction, expected one for each battle")),
    ]


def _listed(ids: list[str], others: set[str], fault: str) -> Iterator[str]:
    """Yield a complaint for each of the first ids that are not among others, and one for the rest of them."""
    missing = [name for name in ids if name not in others]
    yield from (f"id {excerpt(name, 100)}: {fault}" for name in missing[: SHOWN // 3])
    if rest := len(missing) - SHOWN // 3:
        yield from [f"{rest:,} more ids: {fault}"] if rest > 0 else []


def _mismatches(folder: Path, manifest: Manifest, predictions: Predictions) -> Iterator[str]:
    if manifest.name != folder.name:
        yield f"the manifest is that of {manifest.name!r}, expected that of its folder"
    digest = sha256_of(folder / PREDICTIONS)
    if digest != manifest.predictions.sha256:
        yield f"{PREDICTIONS} has the SHA-256 {digest}, expected {manifest.predictions.sha256}"
    if len(predictions) != manifest.predictions.battles:
        yield f"{PREDICTIONS} has {len(predictions):,} battles, expected {manifest.predictions.battles:,}"


def _data_complaints(manifest: Manifest, content_hash: str) -> Iterator[str]:
    if manifest.data.hash != content_hash:
        yield (
            f"it was made for other battles ({manifest.data.name}, hash {manifest.data.hash}, expected "
            f"{content_hash})"
        )
