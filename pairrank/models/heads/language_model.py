"""Models of counted features may read the log-probabilities of a frozen language model as well."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairrank.data.battles import Battles
from pairrank.encoders.catalogue import Encoder, find_encoder
from pairrank.encoders.encoder_record import find_recorded_encoder, write_encoder_record
from pairrank.features.counting import Features, concat, count_features


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
        write_encoder_record(language_model, folder)


def load_language_model(names: Sequence[str], folder: Path) -> Encoder | None:
    """Return the language model that was saved, or None if none is named; raises UserError if it has changed."""
    return find_recorded_encoder(names, folder) if names else None
