"""The leaderboard is one table of scores with intervals, computed from predictions without using any model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.folds import assign_folds, name_folds, prompt_keys, split_keys
from pairrank.data.predictions import Predictions
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError, unknown_name
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.intervals import Difference
from pairrank.evaluation.manifest import Manifest
from pairrank.evaluation.ranks import Order, PairDifference
from pairrank.evaluation.run_record import RunRecord
from pairrank.evaluation.scoring import (
    accuracy,
    battle_losses,
    decided_accuracy,
    decided_log_loss,
    expected_calibration_error,
)
from pairrank.evaluation.seeds import SeedSpread, seed_spreads
from pairrank.evaluation.shared_samples import SharedSamples
from pairrank.memo import memoise

CHOSEN_BY_SEARCH = (
    "the setting of each fold was chosen by a search within its training battles; the seconds are those of the "
    "last training only."
)
"""Warning for runs whose setting was chosen within each fold."""

PRIOR = "prior"
"""Label of the row at which the skill is 0."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the leaderboard; None means that a value is unknown."""

    label: str
    encoder: str | None
    battles: int
    folds: str | None
    """The folds that the scores cover, as text."""
    log_loss: float
    standard_error: float
    differences: dict[str, Difference | None]
    """The difference to each reference, on the battles that both have predicted; None for the reference itself."""
    accuracy: float
    calibration_error: float
    decided_log_loss: float | None
    """Log loss of A against B on the battles that are not ties."""
    decided_accuracy: float | None
    """Share of those battles whose winner is the more probable side."""
    above_floor: float | None
    """Log loss minus that of the true probabilities on the same battles; only for simulated battles."""
    swap_gap: float | None = None
    flip_rate: float | None = None
    """Share of battles whose most probable outcome changes when A and B change places."""
    kept: dict[str, float] | None = None
    """Share of the tokens of prompt, A and B that the model reads."""
    lost_a_side: int | None = None
    """Number of scored battles that lost all tokens of one answer."""
    parameters: int | None = None
    training_seconds: float | None = None
    battles_per_second: float | None = None
    peak_memory_mb: float | None = None
    seed: int | None = None
    submittable: bool | None = None
    tuned_on: tuple[int, ...] = ()
    """Folds on which the setting was tuned. The scores of this row leave them out."""
    warnings: tuple[str, ...] = ()
    training_data: Literal["declared", "undeclared"] | None = None
    """For an entry that was made elsewhere: whether it declares its training data. None for all others."""
    rank: int | None = None
    """1 plus the number of rows that are significantly better; None for rows that cover other battles than most."""
    rank_interval: tuple[int, int] | None = None
    """95 % interval of the rank; see `ranks.order_rows`. Its lower end is `rank`."""
    skill: float | None = None
    """Share of the way from the log loss of the prior to the floor or, if that is unknown, to the best row."""


@dataclass(frozen=True)
class Leaderboard:
    """Rows in the order of their log loss, and the data and references they are compared on."""

    data: str
    battles: int
    prompts: int
    references: tuple[str, ...]
    floor: float | None
    """Log loss of the true probabilities; only for simulated battles."""
    rows: tuple[Row, ...]
    unscored: tuple[str, ...] = ()
    """Entries that have predicted only folds on which their setting was tuned."""
    seeds: tuple[SeedSpread, ...] = ()
    """Runs that average one experiment over several seeds, with the scores of the single ones."""
    pairs: tuple[PairDifference, ...] = ()
    """The differences of all pairs of rows that have a rank, in the order of the rows."""
    critical_value: float | None = None
    """Standard errors by which two rows must differ, corrected for the number of all pairs."""

    @property
    def tied_with_best(self) -> tuple[str, ...]:
        """The rows of rank 1. With a probability of 95 %, the best of the ranked rows is among them."""
        return tuple(row.label for row in self.rows if row.rank == 1)


def build_leaderboard(
    data: str,
    battles: Battles,
    entries: Sequence[Entry],
    references: Sequence[str] = ("prior",),
    truth: Predictions | None = None,
) -> Leaderboard:
    """Score all entries on `battles`, which must have winners.

    `references` are the labels to which differences are computed, and `truth` the true probabilities of simulated
    battles. Raises UserError for an id that is not among the battles, an unknown reference, or a repeated label.
    """
    entries = [without_tuning_folds(entry, battles) for entry in entries]
    unscored = tuple(entry.label for entry in entries if _tuned_on(entry) and not len(entry.predictions))
    entries = [entry for entry in entries if entry.label not in unscored]
    _check_labels([entry.label for entry in entries], references)
    index = {name: row for row, name in enumerate(battles.id.tolist())}
    losses = {entry.label: aligned_losses(entry, battles, index) for entry in entries}
    floor = None
    if truth is not None:
        floor = battle_losses(truth.align(battles.id, "true probabilities").proba, battles.labels)
    samples = SharedSamples(losses, references, split_keys(battles))
    rows = [_row(entry, battles, index, losses, samples, floor) for entry in entries]
    # The log loss of a row that covers fewer battles is not comparable: such rows come last.
    rows.sort(key=lambda row: (row.battles < len(battles), row.log_loss, row.label))
    order = samples.order([row.label for row in rows])
    return Leaderboard(
        data=data,
        battles=len(battles),
        prompts=len(set(prompt_keys(battles))),
        references=tuple(dict.fromkeys(references)),
        floor=None if floor is None else float(floor.mean()),
        rows=tuple(_place(row, order, losses, floor) for row in rows),
        unscored=unscored,
        seeds=seed_spreads(
            {entry.label: entry.record for entry in entries if entry.record},
            {row.label: row.log_loss for row in rows},
            {row.label: row.battles for row in rows},
        ),
        pairs=order.pairs,
        critical_value=order.critical_value,
    )


def without_tuning_folds(entry: Entry, battles: Battles) -> Entry:
    """Return the entry without its predictions for folds on which its setting was tuned."""
    tuned_on = _tuned_on(entry)
    if not tuned_on or entry.record is None:
        return entry
    split = entry.record.split
    fold = _folds_of(battles, split["folds"], split.get("salt", ""))
    scorable = set(battles.id[~np.isin(fold, tuned_on)].tolist())
    # Ids that are not among the battles are kept, so that they are reported later.
    foreign = set(entry.predictions.id.tolist()) - set(battles.id.tolist())
    rows = np.array([name in scorable or name in foreign for name in entry.predictions.id], dtype=np.bool_)
    return replace(entry, predictions=Predictions(entry.predictions.id[rows], entry.predictions.proba[rows]))


_folds_of = memoise(assign_folds)
"""Within `memo_scope`, the folds of a split are assigned once for all entries."""


def _tuned_on(entry: Entry) -> tuple[int, ...]:
    return entry.record.tuned_on if entry.record else ()


def _check_labels(labels: Sequence[str], references: Sequence[str]) -> None:
    """Raise UserError for a repeated label or an unknown reference."""
    counts = Counter(labels)
    if repeated := [label for label, count in counts.items() if count > 1]:
        raise UserError(f"{repeated[0]}: {counts[repeated[0]]} entries have this name. Rename all but one of them.")
    for name in references:
        if name not in counts:
            raise UserError(f"--reference: {unknown_name('entry', name, counts)}")


def aligned_losses(entry: Entry, battles: Battles, index: Mapping[str, int]) -> FloatArray:
    """Return (n,) losses in the order of `battles`, NaN where the entry has no prediction."""
    if not len(entry.predictions):
        raise UserError(f"{entry.label}: its prediction file has no rows, so there is nothing to score.")
    foreign = [name for name in entry.predictions.id.tolist() if name not in index]
    if foreign:
        raise UserError(
            f"{entry.label}: {len(foreign):,} of its {len(entry.predictions):,} ids are not among these battles "
            f"(the first: {foreign[0]}). Expected out-of-fold predictions for the battles of --data."
        )
    rows = [index[name] for name in entry.predictions.id.tolist()]
    losses = np.full(len(battles), np.nan)
    losses[rows] = battle_losses(entry.predictions.proba, battles.labels[rows])
    return losses


def _row(
    entry: Entry,
    battles: Battles,
    index: Mapping[str, int],
    losses: Mapping[str, FloatArray],
    samples: SharedSamples,
    floor: FloatArray | None,
) -> Row:
    """Return the row of an entry; `losses` are those of all entries, `floor` those of the true probabilities."""
    own, proba = losses[entry.label], entry.predictions.proba
    covered = ~np.isnan(own)
    winner = battles.labels[[index[name] for name in entry.predictions.id.tolist()]]
    record = entry.record
    return Row(
        label=entry.label,
        encoder=f"{record.encoder.name} ({record.encoder.sha256[:8]})" if record and record.encoder else None,
        battles=int(covered.sum()),
        folds=_folds(record) if record else None,
        log_loss=float(own[covered].mean()),
        standard_error=samples.standard_error(entry.label),
        differences=samples.differences(entry.label),
        accuracy=accuracy(proba, winner),
        calibration_error=expected_calibration_error(proba, winner),
        decided_log_loss=decided_log_loss(proba, winner),
        decided_accuracy=decided_accuracy(proba, winner),
        above_floor=None if floor is None else float((own - floor)[covered].mean()),
        **(_recorded(record) if record else _declared(entry.manifest) if entry.manifest else {}),
    )


def _place(row: Row, order: Order, losses: Mapping[str, FloatArray], floor: FloatArray | None) -> Row:
    """Return a row with its rank and its skill."""
    best = next(iter(order.ranks), None)
    target = losses[best] if floor is None and best is not None else floor
    interval = order.ranks.get(row.label)
    return replace(
        row,
        rank=interval[0] if interval else None,
        rank_interval=interval,
        skill=skill(losses[row.label], losses.get(PRIOR), target),
    )


def skill(losses: FloatArray, prior: FloatArray | None, target: FloatArray | None) -> float | None:
    """Return the share of the way from the prior to a target that a model goes: 0 as the prior, 1 as the target.

    All three are (n,) losses of the same battles, NaN where there is no prediction; the battles that the model
    covers are used. None if the prior or the target is missing or does not cover them, or if the target is not the
    better of both.
    Source: Murphy, "Skill scores based on the mean square error", Monthly Weather Review 116 (1988), section 1.
    """
    if prior is None or target is None:
        return None
    covered = ~np.isnan(losses)
    way = float((prior - target)[covered].mean())
    # A way that is NaN is not above 0 either.
    return float((prior - losses)[covered].mean()) / way if way > 0 else None


def _recorded(record: RunRecord) -> dict[str, Any]:
    """Return the fields of a row that are taken from the record of its run."""
    return {
        "swap_gap": record.swap_gap,
        "flip_rate": record.flip_rate,
        "kept": record.kept,
        "lost_a_side": record.lost_a_side,
        "parameters": record.parameters,
        "training_seconds": record.training_seconds,
        "battles_per_second": record.battles_per_second,
        "peak_memory_mb": record.peak_memory_mb,
        "seed": record.model.get("seed"),
        "submittable": record.is_submittable,
        "tuned_on": record.tuned_on,
        "warnings": (*record.warnings, *([CHOSEN_BY_SEARCH] if record.chosen else [])),
    }


def _declared(manifest: Manifest) -> dict[str, Any]:
    """Return the fields of a row that are taken from the manifest of an entry that was made elsewhere."""
    return {
        "training_data": "undeclared" if manifest.trained_on is None else "declared",
        "warnings": (str(manifest),),
    }


def _folds(record: RunRecord) -> str:
    """Return which folds the scores of a run cover, as text."""
    count, scored = record.split["folds"], record.scored_folds
    if len(scored) == count:
        return f"all {count}"
    return f"{len(scored)} of {count} ({name_folds(scored)})"
