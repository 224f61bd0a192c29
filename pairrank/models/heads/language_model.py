"""Models that read a frozen encoder save its hash; some read a language model's log-probabilities as an option."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairrank.data.battles import Battles
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.errors import UserError
from pairrank.features.counting import Features, concat, count_features
from pairrank.files import write_json

ENCODER_FILE = "encoder.json"
"""The file of a saved model that names the frozen encoder it reads, with its hash."""


def find_language_model(names: Sequence[str]) -> Encoder | None:
    """Return the first available of these language models, or None if none is named.

    Raises UserError if some are named and none is available.
    """
    return find_encoder(names) if names else None


def battle_columns(battles: Battles, groups: Sequence[str], language_model: Encoder | None) -> Features:
    """Return the counted features of n battles, followed by the columns of the language model, if there is one."""
    counted = count_features(battles, groups)
    if language_model is None:
        return counted
    from pairrank.encoders.likelihoods import likelihood_features  # loads torch, which counted features do not need

    return concat([counted, likelihood_features(battles, language_model)])


def language_model_report(language_model: Encoder | None) -> dict[str, Any]:
    """Return the part of a model's report that names its language model; {} without one."""
    return {} if language_model is None else {"encoder": language_model.identity()}


def save_language_model(language_model: Encoder | None, folder: Path) -> None:
    """Write the name and hash of a language model, if there is one."""
    if language_model is not None:
        save_encoder(language_model, folder)


def load_language_model(names: Sequence[str], folder: Path) -> Encoder | None:
    """Return the language model that was saved, or None if none is named; raises UserError if it has changed."""
    return load_encoder(names, folder) if names else None


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write the name and hash of a frozen encoder; the encoder itself is not copied."""
    write_json(folder / ENCODER_FILE, encoder.identity())


def load_encoder(names: Sequence[str], folder: Path) -> Encoder:
    """Return the first available of these encoders; raises UserError if it is not the one that was saved."""
    found = find_encoder(names)
    expected = json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8"))["sha256"]
    if found.sha256 != expected:
        raise UserError(
            f"{folder}: trained on an encoder with SHA-256 {expected}, but {found.name} now has {found.sha256}. "
            "Run the experiment again, or restore that encoder."
        )
    return found
