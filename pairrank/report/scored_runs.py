"""Runs with the battles that they predicted, from which pages and model cards are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.probabilities import Labels, Proba, normalise
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.intervals import Mean, clustered_mean
from pairrank.evaluation.leaderboard import Leaderboard, Row, without_tuning_folds
from pairrank.evaluation.learning_curves import LearningCurves
from pairrank.evaluation.manifest import Manifest
from pairrank.evaluation.run_record import RunRecord
from pairrank.evaluation.scoring import battle_losses, log_loss, reliability
from pairrank.evaluation.slices import Bias, Rows, SliceScore, biases, score_slices, slices_of
from pairrank.evaluation.survey import Survey

MAX_SHOWN = 6
"""Runs that are shown in detail if none are named: the best ones."""


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """The m scorable predictions of one entry: those of folds on which its setting was not tuned."""

    label: str
    record: RunRecord | None
    """The record of its run; None for a prediction file that no run of pairrank made."""
    rows: npt.NDArray[np.int64]
    """(m,) indices of its battles among all battles, in increasing order."""
    proba: Proba
    """(m, 3) probabilities of A, B and tie."""
    winner: Labels
    """(m,) observed outcomes."""
    manifest: Manifest | None = None
    """Where the predictions come from, for an entry that was made elsewhere."""

    @cached_property
    def losses(self) -> Proba:
        """(m,) losses in nats."""
        return battle_losses(self.proba, self.winner)

    @property
    def log_loss(self) -> float:
        """The mean of the losses."""
        return log_loss(self.proba, self.winner)

    @cached_property
    def is_constant(self) -> bool:
        """Whether all battles, or all battles of a fold, have the same prediction, as with the prior."""
        folds = len(self.record.folds) if self.record else 0
        return len(np.unique(self.proba.round(9), axis=0)) <= max(1, folds)

    def shared_with(self, other: "ScoredRun") -> tuple[Proba, Proba]:
        """Return the (k, 3) predictions of both runs for the k battles that both have predicted."""
        _, here, there = np.intersect1d(self.rows, other.rows, assume_unique=True, return_indices=True)
        return self.proba[here], other.proba[there]


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that the page about runs and the model cards are made from."""

    leaderboard: Leaderboard
    battles: Battles
    """All n battles, with winners."""
    survey: Survey
    """The survey of the n battles, row by row."""
    runs: Sequence[ScoredRun]
    """The entries of the leaderboard, in its order."""
    named: Sequence[str] = ()
    """Labels of runs to show in detail; without any, the best `MAX_SHOWN` that are not constant are shown."""
    windows: Mapping[str, tuple[str, Rows]] = field(default_factory=dict)
    """Label -> the window of the run's encoder, and a (n,) mask of the battles that were cut to fit it."""
    curves: LearningCurves | None = None
    """Learning curves, if experiments were run on subsets of their training battles."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Facts for the first section of the page, such as the date and the commit."""

    @property
    def shown(self) -> list[ScoredRun]:
        """The runs that are shown in detail."""
        if self.named:
            return [run for name in self.named for run in self.runs if run.label == name]
        varied = [run for run in self.runs if not run.is_constant]
        return (varied or list(self.runs))[:MAX_SHOWN]

    def row(self, run: ScoredRun) -> Row:
        """Return the leaderboard's row of a run."""
        return next(row for row in self.leaderboard.rows if row.label == run.label)

    def slices(self, run: ScoredRun) -> list[SliceScore]:
        """Return the scores of a run on slices of its battles."""
        survey = self.survey.take(run.rows)
        window = self.windows.get(run.label)
        cut = None if window is None else (window[0], window[1][run.rows])
        return score_slices(slices_of(survey, run.proba, cut), run.proba, run.winner, survey.prompt_hash)

    def mean(self, run: ScoredRun, values: npt.ArrayLike) -> Mean:
        """Return the mean of (m,) values of a run's battles, with its interval over prompts."""
        return clustered_mean(values, self.survey.prompt_hash[run.rows])

    def biases(self, run: ScoredRun) -> list[Bias]:
        """Return the biases of a run."""
        return biases(self.survey.take(run.rows), run.proba, run.winner)


def score_run(entry: Entry, battles: Battles) -> ScoredRun:
    """Return the scorable predictions of an entry, in the order of `battles`, which must include all its ids."""
    scorable = without_tuning_folds(entry, battles).predictions
    index = {name: row for row, name in enumerate(battles.id.tolist())}
    rows = np.array([index[name] for name in scorable.id.tolist()], dtype=np.int64)
    order = np.argsort(rows)
    rows = rows[order]
    proba = normalise(scorable.proba[order])
    return ScoredRun(entry.label, entry.record, rows, proba, battles.labels[rows], entry.manifest)


def calibration_gap(run: ScoredRun) -> float:
    """Return the mean |predicted - observed| over the bins of the reliability diagram, weighted by their size."""
    bins = reliability(run.proba, run.winner)
    return float(np.average([abs(b.predicted - b.observed) for b in bins], weights=[b.count for b in bins]))
