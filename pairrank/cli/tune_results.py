"""The results of `tune`: the best trials, the verdict of the untouched fold, and the files that are written."""

from collections.abc import Sequence
from dataclasses import replace

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pairrank.cli.console import say, show_table
from pairrank.data.folds import name_folds, split_keys
from pairrank.errors import UserError
from pairrank.evaluation.intervals import paired_difference
from pairrank.runs.run import Run
from pairrank.tuning.plots import draw_study
from pairrank.tuning.search import Search, best_trial, settings_in, with_nested_inputs
from pairrank.tuning.storage import count_requeued, finished, running
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

SHOWN = 10
"""Trials in the table of the best."""


def show_verdict(search: Search, study: Study) -> None:
    """Show the trials, compare the best setting on the untouched fold, and write it if it is accepted."""
    _show_trials(search, study)
    verdict = judge(search, study)
    importances = importances_of(study)
    if importances:
        rows = [[name, f"{100 * share:.0f} %"] for name, share in importances.items()]
        show_table("Importance of the parameters (PED-ANOVA)", ["parameter", "importance"], rows)
    say(f"Written: {write_record(search, study, verdict, importances)}")
    say(f"Written: {len(draw_study(study, search.folder))} plots in the same folder")
    if not verdict.is_accepted and (old := remove_tuned(search)):
        say(f"Removed: {old}, which an earlier verdict of this study had written.")
    _show_scores(search, study, verdict)
    if verdict.is_accepted:
        say(
            f"Written: {write_tuned(search, study, verdict)}. `compare` scores it, and what builds on it, on fold "
            f"{search.untouched} only. For a figure over all folds, add --nested to this command."
        )


def _show_scores(search: Search, study: Study, verdict: Verdict) -> None:
    """Print the log loss of the best and the own setting on the tuning folds, and their difference elsewhere."""
    folds, label = name_folds(search.folds), search.run.experiment.label
    own, best = verdict.own.value or 0.0, verdict.best.value or 0.0
    if verdict.difference is None:
        say(f"Nothing better was found: on {folds} the setting of {label} itself is the best ({own:.4f}).")
        return
    say(
        f"On {folds}, which the search used: {best:.4f}, with the setting of {label} {own:.4f} "
        f"({best - own:+.4f}). The best of {len(finished(study))} trials looks better than it is."
    )
    say(
        f"On fold {search.untouched}, which the search never used ({verdict.battles:,} battles): "
        f"{verdict.difference}, the 95 % interval of a paired bootstrap over prompts."
    )
    if not verdict.is_accepted:
        say("There the tuned setting is worse: the whole interval is above 0. No experiment is written.")
    elif verdict.difference.mean > 0:
        say("There it is worse, but the difference may be chance, so it is unclear whether the setting is better.")


def _show_trials(search: Search, study: Study) -> None:
    """Print the best trials, and how many were complete, pruned or failed."""
    done = finished(study)
    complete = [trial for trial in done if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: trial.value or 0)
    rows = [[str(trial.number), f"{trial.value:.4f}", _in_one_line(trial)] for trial in best[:SHOWN]]
    show_table(f"The best trials of {search.name}", ["trial", "log loss", "setting"], rows, whole=["log loss"])
    pruned = sum(trial.state == TrialState.PRUNED for trial in done)
    failed = len(done) - len(complete) - pruned
    say(
        f"{len(done)} of {search.trials} trials: {len(best)} complete, {pruned} pruned, {failed} failed; "
        f"{count_requeued(study)} were interrupted and repeated."
    )
    if len(done) < search.trials:
        others = len(running(study))
        elsewhere = f" ({others} are running elsewhere)" if others else ""
        say(f"The study is not complete{elsewhere}. The verdict uses the trials that have ended.")


def _in_one_line(trial: FrozenTrial) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings_in(trial).items())


def show_nested(run: Run, searches: Sequence[Search], studies: Sequence[Study]) -> None:
    """Compare the settings that separate searches chose for the folds with the experiment's own, over all folds."""
    best = {}
    for search, study in zip(searches, studies, strict=True):
        winner = best_trial(study)
        if winner is None:
            raise UserError(f"fold {search.untouched}: no trial has a value, so no setting can be chosen.")
        best[search.untouched] = winner
        say(f"Fold {search.untouched}, from {len(finished(study))} trials: {_in_one_line(winner)}")
    own = run.experiment
    if own.inputs and not own.nested:
        # The chosen settings have inputs that are trained inside each fold, so the own setting gets the same.
        own = replace(with_nested_inputs(own), overrides=(*own.overrides, "nested=true"))
        run = replace(run, experiment=own, folder=run.folder.parent / own.label)
    tuned = run_with_chosen(run, best, run.folder.parent)
    with searches[0].exclusive():
        ours, theirs = (out_of_fold_losses(each, list(best)) for each in (run, tuned))
    difference = paired_difference(theirs, ours, split_keys(run.battles))
    both = f"{tuned.experiment.label} {theirs.mean():.4f} and {run.experiment.label} {ours.mean():.4f}"
    say(f"All folds, each with the setting that a search among its training battles chose: {both}.")
    say(f"Difference {difference}, the 95 % interval of a paired bootstrap over prompts.")
    say(f"Written: {tuned.folder}. To see it in the leaderboard: compare")
