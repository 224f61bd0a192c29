"""Entries beside the battles they predicted: rows, probabilities, winners, losses, slices, biases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Labels, Proba, normalise
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.leaderboard import Leaderboard, Row, untouched
from pairrank.evaluation.run_record import RunRecord
from pairrank.evaluation.scoring import Mean, battle_losses, clustered_mean, log_loss, reliability
from pairrank.evaluation.slices import Bias, Rows, SliceScore, biases, score_slices, slices_of
from pairrank.evaluation.survey import Survey

MOST_SHOWN = 6
"""Runs that are looked at one by one where nobody has named any: the best ones."""


@dataclass(frozen=True, eq=False)
class Judged:
    """m predictions of one entry, none of a battle that a search for its setting has seen."""

    label: str
    record: RunRecord | None
    """The results of its run; None for a prediction file that no run of pairrank made."""
    rows: npt.NDArray[np.int64]
    """(m,) where its battles stand among all, in rising order."""
    proba: Proba
    """(m, 3)."""
    winner: Labels
    """(m,)."""

    @cached_property
    def losses(self) -> Proba:
        """(m,)."""
        return battle_losses(self.proba, self.winner)

    @property
    def log_loss(self) -> float:
        """Their mean."""
        return log_loss(self.proba, self.winner)

    @cached_property
    def is_constant(self) -> bool:
        """Whether it says the same of all battles, or of all battles of a fold, as the prior does."""
        return len(np.unique(self.proba.round(9), axis=0)) <= max(1, len(self.record.folds if self.record else ()))

    def shared_with(self, other: "Judged") -> tuple[Proba, Proba]:
        """Two (k, 3) arrays: what both say of the battles that both predicted."""
        _, here, there = np.intersect1d(self.rows, other.rows, assume_unique=True, return_indices=True)
        return self.proba[here], other.proba[there]


@dataclass(frozen=True, eq=False)
class Results:
    """All that a page about runs is made from."""

    board: Leaderboard
    battles: Battles
    """All n of them, with winners."""
    survey: Survey
    """Of the same n, row by row."""
    judged: Sequence[Judged]
    """Every entry of the board, in its order."""
    named: Sequence[str] = ()
    """Labels to be looked at one by one; none: the best `MOST_SHOWN` of those that tell battles apart."""
    windows: Mapping[str, tuple[str, Rows]] = field(default_factory=dict)
    """Label -> the window of a run's encoder, and which of the n battles were cut to fit it."""

    @property
    def shown(self) -> list[Judged]:
        """The runs that are looked at one by one."""
        if self.named:
            return [run for name in self.named for run in self.judged if run.label == name]
        telling = [run for run in self.judged if not run.is_constant]
        return (telling or list(self.judged))[:MOST_SHOWN]

    def row(self, run: Judged) -> Row:
        """A run's line of the board."""
        return next(row for row in self.board.rows if row.label == run.label)

    def slices(self, run: Judged) -> list[SliceScore]:
        """How it did on battles that are alike in one way."""
        survey = self.survey.take(run.rows)
        window = self.windows.get(run.label)
        cut = None if window is None else (window[0], window[1][run.rows])
        return score_slices(slices_of(survey, run.proba, cut), run.proba, run.winner, survey.prompt_hash)

    def mean(self, run: Judged, values: npt.ArrayLike) -> Mean:
        """The mean of (m,) values of a run's battles, with its interval over prompts."""
        return clustered_mean(values, self.survey.prompt_hash[run.rows])

    def biases(self, run: Judged) -> list[Bias]:
        """What it favours more than the voters did."""
        return biases(self.survey.take(run.rows), run.proba, run.winner)


def judge(entry: Entry, battles: Battles) -> Judged:
    """Put an entry's predictions beside their battles; every id must be one of theirs."""
    kept = untouched(entry, battles).predictions
    place = {name: row for row, name in enumerate(battles.id.tolist())}
    rows = np.array([place[name] for name in kept.id.tolist()], dtype=np.int64)
    order = np.argsort(rows)
    rows = rows[order]
    return Judged(entry.label, entry.record, rows, normalise(kept.proba[order]), battles.labels[rows])


def gap(run: Judged) -> float:
    """The mean distance between what was said and what came, over the bins of its reliability diagram."""
    bins = reliability(run.proba, run.winner)
    return float(np.average([abs(b.predicted - b.observed) for b in bins], weights=[b.count for b in bins]))
