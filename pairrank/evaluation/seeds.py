"""Runs that differ by their seed alone show how much of a score is chance, and what their average gains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairrank.evaluation.run_record import RunRecord


@dataclass(frozen=True)
class SeedSpread:
    """The scores of one experiment with several seeds, and that of the run that averages them."""

    label: str
    """The run whose inputs are the runs with single seeds."""
    members: tuple[str, ...]
    """Labels of these runs."""
    mean: float
    """Mean of their log losses."""
    deviation: float
    """Standard deviation of their log losses; the divisor is their number minus 1."""
    log_loss: float
    """Log loss of the average of their predictions."""


def seed_spreads(
    records: Mapping[str, RunRecord], losses: Mapping[str, float], covered: Mapping[str, int]
) -> tuple[SeedSpread, ...]:
    """Return the spread of every run whose inputs are two or more runs that differ by their seed alone.

    `records`, `losses` (log losses) and `covered` (numbers of battles they are over) are by the label of a run. A
    run is left out if one of its inputs is missing, or covers other battles.
    """
    spreads = []
    for label, record in records.items():
        members = tuple(record.inputs)
        is_whole = all(name in records and covered[name] == covered[label] for name in members)
        if len(members) < 2 or not is_whole or not _differ_by_seed([records[name] for name in members]):
            continue
        scores = [losses[name] for name in members]
        spreads.append(
            SeedSpread(label, members, float(np.mean(scores)), float(np.std(scores, ddof=1)), losses[label])
        )
    return tuple(spreads)


def _differ_by_seed(records: list[RunRecord]) -> bool:
    """Return whether runs are of one experiment and have different seeds and otherwise equal settings."""
    seeds = [record.model.get("seed") for record in records]
    settings = [_without_seed(record) for record in records]
    return len(set(seeds)) == len(seeds) and all(each == settings[0] for each in settings)


def _without_seed(record: RunRecord) -> dict[str, Any]:
    """Return the settings of a run without its seed and the list of its changes, which may name the seed."""
    kept = {key: value for key, value in record.experiment.items() if key not in ("overrides", "model")}
    return kept | {"model": {key: value for key, value in record.model.items() if key != "seed"}}
