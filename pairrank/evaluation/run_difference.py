"""What changed between two runs: settings, log loss overall and by slice, and the battles gained and lost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.folds import split_keys
from pairrank.data.probabilities import FloatArray, Proba, normalise
from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.intervals import Difference, Mean, clustered_mean, paired_difference
from pairrank.evaluation.leaderboard import aligned_losses, without_tuning_folds
from pairrank.evaluation.run_record import RunRecord
from pairrank.evaluation.slices import compared_slices
from pairrank.evaluation.survey import Survey
from pairrank.nested import dotted_items

ABSENT = "–"
"""Stands for a setting that one of the runs does not have."""

DESCRIPTIONS = frozenset(("name", "about", "seconds", "overrides"))
"""Keys of an experiment that describe it and change no result."""

EQUAL = 1e-12
"""Change of a loss in nats up to which it counts as rounding."""


@dataclass(frozen=True)
class ChangedSetting:
    """A setting in which two runs differ, as text."""

    key: str
    first: str
    second: str
    kind: Literal["setting", "provenance"]
    """"provenance" for what belongs to the place and time of a run, such as versions and the commit."""


@dataclass(frozen=True)
class SliceDifference:
    """The mean change of the loss on battles with one property in common."""

    kind: str
    name: str
    change: Mean
    """Loss of the second run minus that of the first, in nats."""


@dataclass(frozen=True, eq=False)
class RunDifference:
    """The change from a first to a second run on the n battles that both have predicted."""

    data: str
    battles: Battles
    """The n battles."""
    survey: Survey
    """The survey of the n battles."""
    first: Entry
    second: Entry
    first_proba: Proba
    """(n, 3) probabilities of A, B and tie by the first run."""
    second_proba: Proba
    losses: tuple[FloatArray, FloatArray]
    """(n,) losses of both runs in nats."""
    difference: Difference
    """Mean loss of the second run minus that of the first, with its interval; below 0 the second is better."""
    settings: tuple[ChangedSetting, ...] | None
    """What differs between the runs; None if one of them has no record, because it is no run of pairrank."""
    slices: tuple[SliceDifference, ...]

    @property
    def change(self) -> FloatArray:
        """(n,) losses of the second run minus those of the first."""
        return self.losses[1] - self.losses[0]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Battles that the second run predicts better, worse and equally well."""
        better, worse = int((self.change < -EQUAL).sum()), int((self.change > EQUAL).sum())
        return better, worse, len(self.change) - better - worse

    @property
    def hits(self) -> tuple[int, int]:
        """Battles whose most probable outcome is right in the second run alone, and in the first alone."""
        first, second = (proba.argmax(axis=1) == self.battles.labels for proba in self.probabilities)
        return int((second & ~first).sum()), int((first & ~second).sum())

    @property
    def probabilities(self) -> tuple[Proba, Proba]:
        """The probabilities of both runs."""
        return self.first_proba, self.second_proba

    def gained(self, count: int) -> list[int]:
        """Return the rows of at most `count` battles whose loss falls most, the largest change first."""
        return self._largest(-self.change, count)

    def lost(self, count: int) -> list[int]:
        """Return the rows of at most `count` battles whose loss rises most, the largest change first."""
        return self._largest(self.change, count)

    def _largest(self, values: FloatArray, count: int) -> list[int]:
        order = np.argsort(-values, kind="stable")[:count]
        rows: list[int] = order[values[order] > EQUAL].tolist()
        return rows


def run_difference(data: str, battles: Battles, survey: Survey, first: Entry, second: Entry) -> RunDifference:
    """Compare two entries on the battles that both have predicted, of folds on which neither was tuned.

    `survey` is that of `battles`. Raises UserError if no battle is left.
    """
    entries = [without_tuning_folds(entry, battles) for entry in (first, second)]
    index = {name: row for row, name in enumerate(battles.id.tolist())}
    losses = [aligned_losses(entry, battles, index) for entry in entries]
    shared = np.flatnonzero(~np.isnan(losses[0] + losses[1]))
    if not len(shared):
        raise UserError(f"{first.label} and {second.label} have predicted no battle in common. Run the same folds.")
    chosen, known = battles.take(shared), survey.take(shared)
    before, after = (loss[shared] for loss in losses)
    keys = split_keys(battles)
    probabilities = [normalise(entry.predictions.align(chosen.id, entry.label).proba) for entry in entries]
    records = first.record, second.record
    return RunDifference(
        data=data,
        battles=chosen,
        survey=known,
        first=first,
        second=second,
        first_proba=probabilities[0],
        second_proba=probabilities[1],
        losses=(before, after),
        difference=paired_difference(after, before, [keys[row] for row in shared.tolist()]),
        settings=changed_settings(records[0], records[1]) if records[0] and records[1] else None,
        slices=_slice_differences(known, after - before),
    )


def _slice_differences(survey: Survey, change: npt.NDArray[np.float64]) -> tuple[SliceDifference, ...]:
    """Return the mean of (n,) changes on each slice that is large enough to be compared."""
    return tuple(
        SliceDifference(each.kind, each.name, clustered_mean(change[each.rows], survey.prompt_hash[each.rows]))
        for each in compared_slices(survey)
    )


def changed_settings(first: RunRecord, second: RunRecord) -> tuple[ChangedSetting, ...]:
    """Return what differs between the records of two runs: settings first, then provenance, in their order."""
    kinds: tuple[tuple[Literal["setting", "provenance"], Mapping[str, str], Mapping[str, str]], ...] = (
        ("setting", _settings(first), _settings(second)),
        ("provenance", _provenance(first), _provenance(second)),
    )
    return tuple(
        ChangedSetting(key, one.get(key, ABSENT), other.get(key, ABSENT), kind)
        for kind, one, other in kinds
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    )


def _settings(record: RunRecord) -> dict[str, str]:
    """Return what decides the results of a run, by dotted key."""
    encoder = record.encoder
    values = {key: value for key, value in record.experiment.items() if key not in DESCRIPTIONS}
    found = {key: _text(value) for key, value in dotted_items(values)}
    found |= {"encoder": f"{encoder.name} ({encoder.sha256[:8]})"} if encoder else {}
    found |= {f"predictions of {label}": str(digest) for label, digest in record.inputs.items()}
    return found | {"trained folds": _text(record.folds), "data.toml": record.data.settings}


def _provenance(record: RunRecord) -> dict[str, str]:
    """Return the place and time of a run, which may change its results."""
    versions = {f"version of {name}": str(version) for name, version in record.versions.items()}
    known = {"data": f"{record.data.name} ({record.data.hash})", "device": record.device, "commit": record.commit}
    return {key: str(value) for key, value in known.items() if value} | versions | {"identity": record.identity}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
