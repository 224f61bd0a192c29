"""`tune`: workers take trials, then the winner meets the old setting on the fold that the search never saw."""

import multiprocessing
import os
import shlex
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pairrank.cli.console import say, show_table
from pairrank.cli.locations import find_source, home_of
from pairrank.cli.messages import messages_to
from pairrank.data.folds import name_folds, prompt_keys
from pairrank.errors import UserError
from pairrank.evaluation.intervals import paired_difference
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.overrides import parse_change
from pairrank.runs.run import Run, resolve_run
from pairrank.tuning.plots import draw_study
from pairrank.tuning.sampling import Pruner
from pairrank.tuning.search import Search, best_of, settings_of, with_nested_inputs
from pairrank.tuning.storage import finished, retried, running, shown_url
from pairrank.tuning.verdict import (
    chosen_run,
    importances_of,
    judge,
    losses_in,
    tuned_file,
    withdraw_tuned,
    write_record,
    write_tuned,
)
from pairrank.tuning.worker import work

SHOWN = 10
"""Trials of the final table."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class TuneRequest:
    """What the command line asks for, in plain values that another process can be given."""

    name: str
    data: Path | None = None
    runs: Path | None = None
    trials: int = 60
    timeout: float | None = None
    """Seconds after which no trial is begun any more."""
    storage: str = ""
    jobs: int = 1
    folds: tuple[int, ...] = ()
    """Tuning folds; () for all but the untouched one."""
    untouched: int | None = None
    """None for the last that no earlier search has seen."""
    nested: bool = False
    pruner: Pruner = "median"
    seed: int = 0
    overrides: tuple[str, ...] = ()

    @property
    def again(self) -> str:
        """The command that goes on with this study, or joins it as another worker."""
        asked = {
            "--data": self.data,
            "--runs": self.runs,
            "--storage": shown_url(self.storage),
            "--untouched": self.untouched,
            "--seed": self.seed or None,
        }
        words = [word for key, value in asked.items() if value not in (None, "") for word in (key, str(value))]
        words += [word for fold in self.folds for word in ("--fold", str(fold))]
        words += [word for change in self.overrides for word in ("--set", change)]
        words += ["--nested"] if self.nested else []
        words += ["--pruner", self.pruner] if self.pruner != "median" else []
        words += ["--jobs", str(self.jobs)] if self.jobs > 1 else []
        return shlex.join(["tune", self.name, "--trials", str(self.trials), *words])


def tune(request: TuneRequest) -> None:
    """Check everything, search, judge, write; Ctrl-C leaves a study that goes on."""
    run, searches = plan(request)
    if not request.nested:
        tuned_file(searches[0])
    for search in searches:
        # Whether the database is there and of this study is told before any work.
        search.open()
    deadline = None if request.timeout is None else time.time() + request.timeout
    try:
        studies = []
        for done, search in enumerate(searches):
            # What is left of the time is for all searches that are left.
            now, left = time.time(), len(searches) - done
            studies.append(_searched(request, search, deadline and now + (deadline - now) / left))
        if request.nested:
            _show_nested(run, searches, studies)
        else:
            _show_verdict(searches[0], studies[0])
    except KeyboardInterrupt:
        say(f"\nInterrupted. The study keeps its trials; go on, or join it from elsewhere, with: {request.again}")
        raise SystemExit(130) from None


def plan(request: TuneRequest) -> tuple[Run, list[Search]]:
    """The run to be tuned, and a search for each untouched fold; raises UserError for what cannot be."""
    if request.nested and (request.untouched is not None or request.folds):
        raise UserError("--nested keeps every fold out in turn: --untouched and --fold are for a single search.")
    source = find_source(request.data)
    home = home_of(request.runs, source)
    run = resolve_run(load_experiment(request.name, request.overrides), source, home)
    folds = range(run.experiment.folds)
    for asked in (*request.folds, *filter(None, [request.untouched])):
        if asked not in folds:
            raise UserError(f"fold {asked}: {run.experiment.name} has the folds 0 to {folds[-1]}.")
    if run.experiment.soft_targets:
        _ = run.train  # a teacher's file that has seen the untouched winners is refused here, before any trial
    left = [fold for fold in folds if fold not in run.tuned_on]
    if not left:
        raise UserError(f"{run.experiment.name}: earlier searches, of what it builds on too, have seen every fold.")
    untouched = folds if request.nested else [left[-1] if request.untouched is None else request.untouched]
    there = set(run.fold_index.tolist())
    searches = [
        Search(
            run,
            kept_out,
            request.folds or tuple(fold for fold in folds if fold != kept_out and fold in there),
            home / f"{run.experiment.label}+tuning",
            request.storage,
            request.trials,
            request.pruner,
            request.seed,
        )
        for kept_out in untouched
    ]
    searched = {each.key for each in searches[0].space.dimensions}
    if held := [change for change in request.overrides if parse_change(change)[0] in searched]:
        raise UserError(f"--set {held[0]}: the search changes this parameter. Take it out of [search] to hold it.")
    return run, searches


def _searched(request: TuneRequest, search: Search, deadline: float | None) -> Study:
    """The study with its trials, taken by this process or by several."""
    say(f"{search.run.experiment.label}: fold {search.untouched} is kept out of the search.")
    say(f"Study {search.name!r} in {search.url if not search.storage else 'the given storage'}")
    if request.jobs > 1:
        _work_together(request, search.untouched, deadline)
    # After several workers this finds nothing to do, or what one of them left when it died.
    return work(search, deadline)


def _work_together(request: TuneRequest, untouched: int, deadline: float | None) -> None:
    """Several processes on this machine, which share its cores."""
    share = str(max(1, (os.cpu_count() or 1) // request.jobs))
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, share)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(request, untouched, deadline)) for _ in range(request.jobs)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        # A terminal tells them too; whoever signals this process alone does not.
        for worker in workers:
            worker.join(timeout=1)
            if worker.is_alive() and worker.pid:
                os.kill(worker.pid, signal.SIGINT)
        for worker in workers:
            worker.join()
        raise
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    if died := [worker.exitcode for worker in workers if worker.exitcode]:
        say(f"{len(died)} of {len(workers)} workers ended early (exit code {', '.join(map(str, died))}).")


def _worker(request: TuneRequest, untouched: int, deadline: float | None) -> None:
    """One of several processes: trials only."""
    with messages_to(say):
        try:
            _, searches = plan(request)
            work(next(each for each in searches if each.untouched == untouched), deadline)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except UserError as error:
            say(f"Error: {error}")
            raise SystemExit(2) from None


def _show_verdict(search: Search, study: Study) -> None:
    """The table of trials, the untouched fold, what was written."""
    _show_trials(search, study)
    verdict = judge(search, study)
    importances = importances_of(study)
    if importances:
        rows = [[name, f"{100 * share:.0f} %"] for name, share in importances.items()]
        show_table("What mattered (PED-ANOVA)", ["parameter", "importance"], rows)
    say(f"Written: {write_record(search, study, verdict, importances)}")
    say(f"Written: {len(draw_study(study, search.folder))} plots, beside it")
    folds = name_folds(search.folds)
    own, best = verdict.own.value or 0.0, verdict.best.value or 0.0
    label = search.run.experiment.label
    if not verdict.holds and (old := withdraw_tuned(search)):
        say(f"Removed: {old}, which an earlier verdict of this study had written.")
    if verdict.difference is None:
        say(f"Nothing better was found: on {folds} the setting of {label} itself is the best ({own:.4f}).")
        return
    say(
        f"Searched, {folds}: {best:.4f}, the setting of {label} {own:.4f} ({best - own:+.4f}). The best of "
        f"{len(finished(study))} looks better than it is."
    )
    say(
        f"Fold {search.untouched}, which the search never saw ({verdict.battles:,} battles): "
        f"{verdict.difference}, the 95 % interval of a paired bootstrap over prompts."
    )
    if not verdict.holds:
        say("There the tuned setting is worse, and the interval lies wholly above 0: no experiment is written.")
        return
    if verdict.difference.mean > 0:
        say("There it is worse, though no more than chance may do: whether it is any better is not known.")
    file = write_tuned(search, study, verdict)
    say(
        f"Written: {file}. `compare` scores it, and all that builds on it, on fold {search.untouched} alone; the "
        "same command with --nested gives a figure of all folds."
    )


def _show_trials(search: Search, study: Study) -> None:
    done = finished(study)
    complete = [trial for trial in done if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: trial.value or 0)
    rows = [[str(trial.number), f"{trial.value:.4f}", _told_settings(trial)] for trial in best[:SHOWN]]
    show_table(f"The best trials of {search.name}", ["trial", "log loss", "setting"], rows, whole=["log loss"])
    pruned = sum(trial.state == TrialState.PRUNED for trial in done)
    failed = len(done) - len(complete) - pruned
    say(
        f"{len(done)} of {search.trials} trials: {len(best)} complete, {pruned} pruned, {failed} failed; "
        f"{retried(study)} were cut off and tried again."
    )
    if len(done) < search.trials:
        others = len(running(study))
        say(f"Not all are done{f' ({others} are running elsewhere)' if others else ''}: judged on what there is.")


def _told_settings(trial: FrozenTrial) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings_of(trial).items())


def _show_nested(run: Run, searches: Sequence[Search], studies: Sequence[Study]) -> None:
    """The one figure over all folds that no search has flattered, against the experiment as it stands."""
    best = {}
    for search, study in zip(searches, studies, strict=True):
        winner = best_of(study)
        if winner is None:
            raise UserError(f"fold {search.untouched}: no trial has a value, so no setting can be chosen.")
        best[search.untouched] = winner
        say(f"Fold {search.untouched}, from {len(finished(study))} trials: {_told_settings(winner)}")
    own = run.experiment
    if own.inputs and not own.nested:
        # Compared with what is trained alike: the inputs of both are made anew inside each fold.
        own = replace(with_nested_inputs(own), overrides=(*own.overrides, "nested=true"))
        run = replace(run, experiment=own, folder=run.folder.parent / own.label)
    tuned = chosen_run(run, best, run.folder.parent)
    with searches[0].alone():
        ours, theirs = (losses_in(each, list(best)) for each in (run, tuned))
    difference = paired_difference(theirs, ours, prompt_keys(run.battles))
    both = f"{tuned.experiment.label} {theirs.mean():.4f} and {run.experiment.label} {ours.mean():.4f}"
    say(f"All folds, each with the setting that a search among its training battles chose: {both}.")
    say(f"Difference {difference}, the 95 % interval of a paired bootstrap over prompts.")
    say(f"Written: {tuned.folder}. See it beside the others with: compare")
