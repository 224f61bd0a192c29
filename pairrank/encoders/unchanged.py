"""A model that was trained on a frozen encoder is used with that encoder only: its hash is saved and compared."""

import json
from collections.abc import Sequence
from pathlib import Path

from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.errors import UserError
from pairrank.files import write_json

ENCODER_FILE = "encoder.json"


def save_encoder_hash(encoder: Encoder, folder: Path) -> None:
    """Write the name and hash of an encoder to the folder of a saved model."""
    write_json(folder / ENCODER_FILE, {"name": encoder.name, "sha256": encoder.sha256})


def find_unchanged_encoder(names: Sequence[str], folder: Path) -> Encoder:
    """Return the first of these encoders that is available; raises UserError if it is not the saved one."""
    found = find_encoder(names)
    expected = json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8"))["sha256"]
    if found.sha256 != expected:
        raise UserError(
            f"{folder}: trained on an encoder with SHA-256 {expected}, but {found.name} now has {found.sha256}. "
            "Run the experiment again, or restore that encoder."
        )
    return found
