"""A saved model that does not copy its encoder records the encoder's name and hash."""

import json
from collections.abc import Sequence
from pathlib import Path

from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.errors import UserError
from pairrank.files import write_json

ENCODER_FILE = "encoder.json"
"""The file with the name and the SHA-256 of the encoder."""


def write_encoder_record(encoder: Encoder, folder: Path) -> None:
    """Write name and hash of an encoder."""
    write_json(folder / ENCODER_FILE, encoder.identity())


def find_recorded_encoder(names: Sequence[str], folder: Path) -> Encoder:
    """Return the first available encoder; raises UserError if a saved model was trained on another one."""
    encoder = find_encoder(names)
    expected = json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8"))["sha256"]
    if encoder.sha256 != expected:
        raise UserError(
            f"{folder}: trained on an encoder with SHA-256 {expected}, but {encoder.name} now has "
            f"{encoder.sha256}. Run the experiment again, or restore that encoder."
        )
    return encoder
