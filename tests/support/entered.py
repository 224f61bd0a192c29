"""Entries that were made elsewhere, on the sixty tiny battles of `tests.support.entries`."""

import hashlib
from pathlib import Path

from pairrank.evaluation.entries import Entry
from pairrank.evaluation.manifest import EnteredData, Manifest, SourceFile, StoredPredictions, write_entered
from tests.support.entries import BATTLES, some_predictions


def some_manifest(name: str = "book", battles: int = 60, **changes: object) -> Manifest:
    """Return a manifest of predictions for the first battles, whose hash is not known before they are written."""
    values = {
        "name": name,
        "about": "A judge, prompted.",
        "by": "Ada",
        "url": "https://example.org/judge",
        "trained_on": "no votes",
        "entered": "2026-11-27T08:15:00Z",
        "form": "probabilities",
        "source": SourceFile("oof.csv", hashlib.sha256(b"oof").hexdigest()),
        "fitted": None,
        "predictions": StoredPredictions(battles, "0" * 64),
        "data": EnteredData("d", len(BATTLES), BATTLES.content_hash()),
    }
    return Manifest(**(values | changes))


def entered(folder: Path, name: str = "book", seed: int = 7, battles: int = 60, **changes: object) -> Entry:
    """Write an entry into the folder of its name in `folder`, and return it."""
    predictions = some_predictions(seed, slice(battles))
    manifest = write_entered(folder, some_manifest(name, battles, **changes), predictions)
    return Entry(name, predictions, manifest=manifest)
