"""The results of a search: its trials, the verdict of the untouched fold, and the files that are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pairrank.api.html import table
from pairrank.data.folds import split_keys
from pairrank.errors import UserError
from pairrank.evaluation.intervals import Difference, paired_difference
from pairrank.runs.run import Run
from pairrank.tuning.database import SETTINGS
from pairrank.tuning.search import Search, best_trial, settings_in, with_nested_inputs
from pairrank.tuning.storage import finished
from pairrank.tuning.verdict import (
    Verdict,
    importances_of,
    judge,
    out_of_fold_losses,
    remove_tuned,
    run_with_chosen,
    write_record,
    write_tuned,
)

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10
"""Trials in the table of the best."""


@dataclass(frozen=True, eq=False, repr=False)
class Tuning:
    """A finished search, and the comparison of its best setting with the own one on the untouched fold."""

    search: Search
    study: Study
    """Optuna's study."""
    verdict: Verdict
    importances: Mapping[str, float]
    """Share of each parameter in the differences between trials (PED-ANOVA); empty if there are too few trials."""
    record: Path
    """The file tuning.json with every trial."""
    file: Path | None
    """The experiment that was written; None if the setting was rejected or nothing better was found."""
    removed: Path | None
    """The experiment of an earlier verdict of this study, which was removed."""

    @property
    def best(self) -> Mapping[str, object]:
        """The parameters of the best setting, by dotted key; empty if the own setting is the best."""
        return {} if self.verdict.difference is None else settings_in(self.verdict.best)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row per finished trial: number, state, log loss and its parameters."""
        import pandas as pd

        rows = [
            {"trial": trial.number, "state": trial.state.name.lower(), "log_loss": trial.value} | _parameters(trial)
            for trial in finished(self.study)
        ]
        return pd.DataFrame(rows).set_index("trial")

    def __repr__(self) -> str:
        change = "the own setting is the best" if self.verdict.difference is None else str(self.verdict.difference)
        return f"Tuning({self.search.name!r}, {change})"

    def _repr_html_(self) -> str:
        rows = [(str(trial.number), f"{trial.value:.4f}", in_one_line(trial)) for trial in best_trials(self.study)]
        caption = f"{self.search.name}: {self.verdict.difference or 'the own setting is the best'}"
        return table(["trial", "log loss", "setting"], rows, caption)


@dataclass(frozen=True, eq=False, repr=False)
class NestedTuning:
    """A search inside each fold's training battles: one unbiased figure over all folds."""

    run: Run
    """The run with the chosen settings."""
    own: Run
    """The run with the experiment's own setting."""
    best: Mapping[int, FrozenTrial]
    """The best trial of each fold's search."""
    trials: Mapping[int, int]
    """Number of finished trials of each fold's search."""
    log_loss: float
    """With the chosen settings, in nats."""
    own_log_loss: float
    difference: Difference
    """The first minus the second, paired, with its 95 % interval."""

    def __repr__(self) -> str:
        return f"NestedTuning({self.run.experiment.label!r}, log loss {self.log_loss:.4f}, {self.difference})"

    def _repr_html_(self) -> str:
        rows = [(str(fold), str(self.trials[fold]), in_one_line(trial)) for fold, trial in self.best.items()]
        own = f"own setting {self.own_log_loss:.4f}; difference {self.difference}"
        caption = f"{self.run.experiment.label}: log loss {self.log_loss:.4f}, {own}"
        return table(["fold", "trials", "setting"], rows, caption)


def judge_search(search: Search, study: Study) -> Tuning:
    """Compare the best setting on the untouched fold, and write the record, and the setting if it is accepted."""
    verdict, importances = judge(search, study), importances_of(study)
    record = write_record(search, study, verdict, importances)
    if verdict.is_accepted:
        return Tuning(search, study, verdict, importances, record, write_tuned(search, study, verdict), None)
    return Tuning(search, study, verdict, importances, record, None, remove_tuned(search))


def judge_nested(run: Run, searches: Sequence[Search], studies: Sequence[Study]) -> NestedTuning:
    """Compare the settings that separate searches chose for the folds with the experiment's own, over all folds.

    Raises UserError if a search has no trial with a value.
    """
    best = {}
    for search, study in zip(searches, studies, strict=True):
        if (winner := best_trial(study)) is None:
            raise UserError(f"fold {search.untouched}: no trial has a value, so no setting can be chosen.")
        best[search.untouched] = winner
    own = run.experiment
    if own.inputs and not own.nested:
        # The chosen settings have inputs that are trained inside each fold, so the own setting gets the same.
        own = replace(with_nested_inputs(own), overrides=(*own.overrides, "nested=true"))
        run = replace(run, experiment=own, folder=run.folder.parent / own.label)
    tuned = run_with_chosen(run, best, run.folder.parent)
    with searches[0].exclusive():
        ours, theirs = (out_of_fold_losses(each, list(best)) for each in (run, tuned))
    difference = paired_difference(theirs, ours, split_keys(run.battles))
    counts = {search.untouched: len(finished(study)) for search, study in zip(searches, studies, strict=True)}
    return NestedTuning(tuned, run, best, counts, float(theirs.mean()), float(ours.mean()), difference)


def best_trials(study: Study) -> list[FrozenTrial]:
    """Return the complete trials with the lowest log loss, at most `SHOWN`."""
    complete = [trial for trial in finished(study) if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: trial.value or 0)[:SHOWN]


def in_one_line(trial: FrozenTrial) -> str:
    """Return the setting of a trial as text."""
    return ", ".join(f"{key} = {value}" for key, value in settings_in(trial).items())


def _parameters(trial: FrozenTrial) -> dict[str, object]:
    """Return the parameters of a trial; a failed one may have none."""
    return dict(trial.user_attrs.get(SETTINGS) or {})
