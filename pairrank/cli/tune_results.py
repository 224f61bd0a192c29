"""The results of `tune`: the best trials, the verdict of the untouched fold, and the files that are written."""

from collections.abc import Sequence

from optuna.study import Study
from optuna.trial import TrialState

from pairrank.api.tuning_results import best_trials, in_one_line, judge_nested, judge_search
from pairrank.cli.console import say, show_table
from pairrank.data.folds import name_folds
from pairrank.runs.run import Run
from pairrank.tuning.plots import draw_study
from pairrank.tuning.search import Search
from pairrank.tuning.storage import count_requeued, finished, running
from pairrank.tuning.verdict import Verdict


def show_verdict(search: Search, study: Study) -> None:
    """Show the trials, compare the best setting on the untouched fold, and write it if it is accepted."""
    _show_trials(search, study)
    result = judge_search(search, study)
    if result.importances:
        rows = [[name, f"{100 * share:.0f} %"] for name, share in result.importances.items()]
        show_table("Importance of the parameters (PED-ANOVA)", ["parameter", "importance"], rows)
    say(f"Written: {result.record}")
    say(f"Written: {len(draw_study(study, search.folder))} plots in the same folder")
    if result.removed:
        say(f"Removed: {result.removed}, which an earlier verdict of this study had written.")
    _show_scores(search, study, result.verdict)
    if result.file:
        say(
            f"Written: {result.file}. `compare` scores it, and what builds on it, on fold "
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
    rows = [[str(trial.number), f"{trial.value:.4f}", in_one_line(trial)] for trial in best_trials(study)]
    show_table(f"The best trials of {search.name}", ["trial", "log loss", "setting"], rows, whole=["log loss"])
    pruned = sum(trial.state == TrialState.PRUNED for trial in done)
    failed = len(done) - len(complete) - pruned
    say(
        f"{len(done)} of {search.trials} trials: {len(complete)} complete, {pruned} pruned, {failed} failed; "
        f"{count_requeued(study)} were interrupted and repeated."
    )
    if len(done) < search.trials:
        others = len(running(study))
        elsewhere = f" ({others} are running elsewhere)" if others else ""
        say(f"The study is not complete{elsewhere}. The verdict uses the trials that have ended.")


def show_nested(run: Run, searches: Sequence[Search], studies: Sequence[Study]) -> None:
    """Compare the settings that separate searches chose for the folds with the experiment's own, over all folds."""
    result = judge_nested(run, searches, studies)
    for fold, trial in result.best.items():
        say(f"Fold {fold}, from {result.trials[fold]} trials: {in_one_line(trial)}")
    ours = f"{result.own.experiment.label} {result.own_log_loss:.4f}"
    both = f"{result.run.experiment.label} {result.log_loss:.4f} and {ours}"
    say(f"All folds, each with the setting that a search among its training battles chose: {both}.")
    say(f"Difference {result.difference}, the 95 % interval of a paired bootstrap over prompts.")
    say(f"Written: {result.run.folder}. To see it in the leaderboard: compare")
