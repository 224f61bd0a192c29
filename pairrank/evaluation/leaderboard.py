"""The benchmark harness: prediction files in, one table with intervals out. It never sees a model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds, prompt_keys
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError, unknown_name
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.run_record import RunRecord
from pairrank.evaluation.scoring import (
    Difference,
    accuracy,
    battle_losses,
    expected_calibration_error,
    paired_difference,
    standard_error,
)

SEARCHED = (
    "each fold's setting was chosen by a search among its own training battles; the seconds are those of the last "
    "training alone."
)
"""What a reader of a nested search's row must know."""


@dataclass(frozen=True)
class Row:
    """One line of the table; None where the entry cannot tell."""

    label: str
    encoder: str | None
    battles: int
    folds: str | None
    log_loss: float
    standard_error: float
    differences: dict[str, Difference | None]
    """To each reference, on the battles both have predicted."""
    accuracy: float
    calibration_error: float
    above_floor: float | None
    """Log loss minus that of the true probabilities on the same battles; simulated data only."""
    swap_gap: float | None
    flip_rate: float | None
    """Share of battles whose likeliest outcome is another when A and B change places."""
    kept: dict[str, float] | None
    lost_a_side: int | None
    parameters: int | None
    training_seconds: float | None
    battles_per_second: float | None
    peak_memory_mb: float | None
    seed: int | None
    submittable: bool | None
    tuned_on: tuple[int, ...]
    """Folds that a search for this setting has seen. They are not in `folds`, nor in any number of this row."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Rows in order of their log loss, with the battles and references they were made with."""

    data: str
    battles: int
    prompts: int
    references: tuple[str, ...]
    floor: float | None
    rows: tuple[Row, ...]
    unscored: tuple[str, ...] = ()
    """Entries that have predicted only battles which the search for their setting has seen."""


def build_leaderboard(
    data: str,
    battles: Battles,
    entries: Sequence[Entry],
    references: Sequence[str] = ("prior",),
    truth: Predictions | None = None,
) -> Leaderboard:
    """Score all entries on the battles with winners; raises UserError for a foreign id or an unknown reference."""
    entries = [untouched(entry, battles) for entry in entries]
    unscored = tuple(entry.label for entry in entries if _tuned_on(entry) and not len(entry.predictions))
    entries = [entry for entry in entries if entry.label not in unscored]
    labels = Counter(entry.label for entry in entries)
    if twice := [label for label, count in labels.items() if count > 1]:
        raise UserError(f"{twice[0]}: {labels[twice[0]]} entries of this name. Give one of them another.")
    for name in references:
        if name not in labels:
            raise UserError(f"--reference {unknown_name('entry', name, labels)}")
    place = {name: row for row, name in enumerate(battles.id.tolist())}
    losses = {entry.label: _losses(entry, battles, place) for entry in entries}
    keys = np.array(prompt_keys(battles))
    floor = None
    if truth is not None:
        floor = battle_losses(truth.align(battles.id, "true probabilities").proba, battles.labels)
    rows = [_row(entry, battles, keys, losses, references, floor, place) for entry in entries]
    return Leaderboard(
        data=data,
        battles=len(battles),
        prompts=len(set(keys.tolist())),
        references=tuple(dict.fromkeys(references)),
        floor=None if floor is None else float(floor.mean()),
        # A row that covers fewer battles has met others: it stands below the whole ones, whatever its score.
        rows=tuple(sorted(rows, key=lambda row: (row.battles < len(battles), row.log_loss, row.label))),
        unscored=unscored,
    )


def untouched(entry: Entry, battles: Battles) -> Entry:
    """The entry on those battles alone whose fold no search for its setting has seen."""
    seen = _tuned_on(entry)
    if not seen:
        return entry
    split = entry.record.split if entry.record else {}
    member = assign_folds(battles, split["folds"], split.get("salt", ""))
    unseen = set(battles.id[~np.isin(member, seen)].tolist())
    # Ids that are of no battle here stay, to be complained of.
    foreign = set(entry.predictions.id.tolist()) - set(battles.id.tolist())
    rows = np.array([name in unseen or name in foreign for name in entry.predictions.id], dtype=np.bool_)
    kept = Predictions(entry.predictions.id[rows], entry.predictions.proba[rows])
    return replace(entry, predictions=kept)


def _tuned_on(entry: Entry) -> tuple[int, ...]:
    return entry.record.tuned_on if entry.record else ()


def _losses(entry: Entry, battles: Battles, place: dict[str, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) losses in the order of `battles`, NaN where the entry made no prediction."""
    if not len(entry.predictions):
        raise UserError(f"{entry.label}: its prediction file has no rows, so there is nothing to score.")
    foreign = [name for name in entry.predictions.id.tolist() if name not in place]
    if foreign:
        raise UserError(
            f"{entry.label}: {len(foreign):,} of its {len(entry.predictions):,} ids are not among these battles "
            f"(the first: {foreign[0]}). Expected out-of-fold predictions for the battles of --data."
        )
    rows = [place[name] for name in entry.predictions.id.tolist()]
    losses = np.full(len(battles), np.nan)
    losses[rows] = battle_losses(entry.predictions.proba, battles.labels[rows])
    return losses


def _row(
    entry: Entry,
    battles: Battles,
    keys: np.ndarray[Any, Any],
    losses: dict[str, np.ndarray[Any, np.dtype[np.float64]]],
    references: Sequence[str],
    floor: np.ndarray[Any, np.dtype[np.float64]] | None,
    place: dict[str, int],
) -> Row:
    own = losses[entry.label]
    covered = ~np.isnan(own)
    differences: dict[str, Difference | None] = {}
    for name in references:
        both = covered & ~np.isnan(losses[name])
        same = name == entry.label or not both.any()
        differences[name] = None if same else paired_difference(own[both], losses[name][both], keys[both].tolist())
    proba = entry.predictions.proba
    winner = battles.labels[[place[name] for name in entry.predictions.id.tolist()]]
    record = entry.record
    encoder = record.encoder if record else None
    return Row(
        label=entry.label,
        encoder=f"{encoder.name} ({encoder.sha256[:8]})" if encoder else None,
        battles=int(covered.sum()),
        folds=_folds(record) if record else None,
        log_loss=float(own[covered].mean()),
        standard_error=standard_error(own[covered], keys[covered].tolist()),
        differences=differences,
        accuracy=accuracy(proba, winner),
        calibration_error=expected_calibration_error(proba, winner),
        above_floor=None if floor is None else float((own - floor)[covered].mean()),
        swap_gap=record.swap_gap if record else None,
        flip_rate=record.flip_rate if record else None,
        kept=record.kept if record else None,
        lost_a_side=record.lost_a_side if record else None,
        parameters=record.parameters if record else None,
        training_seconds=record.training_seconds if record else None,
        battles_per_second=record.battles_per_second if record else None,
        peak_memory_mb=record.peak_memory_mb if record else None,
        seed=record.model.get("seed") if record else None,
        submittable=record.is_submittable if record else None,
        tuned_on=_tuned_on(entry),
        warnings=(*record.warnings, *([SEARCHED] if record.chosen else [])) if record else (),
    )


def _folds(record: RunRecord) -> str:
    """Return which folds the scores of a run cover, in words."""
    count, done = record.split["folds"], record.scored_folds
    if len(done) == count:
        return f"all {count}"
    return f"{len(done)} of {count} (number {', '.join(map(str, done))})"
