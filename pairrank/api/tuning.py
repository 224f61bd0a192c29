"""`tune` runs the trials of a study and compares the best setting with the old one on an unused fold."""

import multiprocessing
import os
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study

from pairrank.cli.console import say
from pairrank.cli.locations import find_source, home_of
from pairrank.cli.messages import messages_to
from pairrank.cli.tune_results import show_nested, show_verdict
from pairrank.errors import UserError
from pairrank.models.base import current_name
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.overrides import parse_change
from pairrank.runs.run import Run, resolve_run
from pairrank.tuning.database import without_password
from pairrank.tuning.sampling import Pruner
from pairrank.tuning.search import Search
from pairrank.tuning.verdict import tuned_file
from pairrank.tuning.worker import work

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class TuneRequest:
    """The arguments and options of `tune`, as plain values that can be passed to another process."""

    name: str
    data: Path | None = None
    runs: Path | None = None
    trials: int = 60
    timeout: float | None = None
    """Seconds after which no trial is begun."""
    storage: str = ""
    jobs: int = 1
    folds: tuple[int, ...] = ()
    """Tuning folds; () for all but the untouched one."""
    untouched: int | None = None
    """None for the last one that no earlier search has used."""
    nested: bool = False
    pruner: Pruner = "median"
    seed: int = 0
    overrides: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that resumes this study, or joins it as another worker."""
        given = {
            "--data": self.data,
            "--runs": self.runs,
            "--storage": without_password(self.storage),
            "--untouched": self.untouched,
            "--seed": self.seed or None,
        }
        words = [word for key, value in given.items() if value not in (None, "") for word in (key, str(value))]
        words += [word for fold in self.folds for word in ("--fold", str(fold))]
        words += [word for change in self.overrides for word in ("--set", change)]
        words += ["--nested"] if self.nested else []
        words += ["--pruner", self.pruner] if self.pruner != "median" else []
        words += ["--jobs", str(self.jobs)] if self.jobs > 1 else []
        return shlex.join(["tune", self.name, "--trials", str(self.trials), *words])


def tune(request: TuneRequest) -> None:
    """Check everything, search, and show and write the verdict; after Ctrl-C the study can be resumed."""
    run, searches = plan(request)
    if not request.nested:
        tuned_file(searches[0])
    for search in searches:
        # A database that is missing or belongs to another study is refused before any work.
        search.open()
    deadline = None if request.timeout is None else time.time() + request.timeout
    try:
        studies = []
        for done, search in enumerate(searches):
            # The remaining time is shared equally among the remaining searches.
            now, remaining = time.time(), len(searches) - done
            studies.append(_search(request, search, deadline and now + (deadline - now) / remaining))
        if request.nested:
            show_nested(run, searches, studies)
        else:
            show_verdict(searches[0], studies[0])
    except KeyboardInterrupt:
        say(f"\nInterrupted. The study keeps its trials. To resume it, or to join it elsewhere: {request.command}")
        raise SystemExit(130) from None


def plan(request: TuneRequest) -> tuple[Run, list[Search]]:
    """Return the run to be tuned, and a search for each untouched fold; raises UserError for a wrong request."""
    if request.nested and (request.untouched is not None or request.folds):
        raise UserError(
            "--nested keeps every fold out in turn, so it cannot be combined with --untouched or --fold."
        )
    source = find_source(request.data)
    home = home_of(request.runs, source)
    run = resolve_run(load_experiment(request.name, request.overrides), source, home)
    folds = range(run.experiment.folds)
    for fold in (*request.folds, *filter(None, [request.untouched])):
        if fold not in folds:
            raise UserError(f"fold {fold}: {run.experiment.name} has the folds 0 to {folds[-1]}.")
    if run.experiment.soft_targets:
        _ = run.train  # refuses a teacher that was trained on winners of the untouched fold, before any trial
    unused = [fold for fold in folds if fold not in run.tuned_on]
    if not unused:
        raise UserError(f"{run.experiment.name}: earlier searches, for it or for its inputs, have used every fold.")
    untouched = folds if request.nested else [unused[-1] if request.untouched is None else request.untouched]
    existing = set(run.fold_index.tolist())
    searches = [
        Search(
            run,
            kept_out,
            request.folds or tuple(fold for fold in folds if fold != kept_out and fold in existing),
            home / f"{run.experiment.label}+tuning",
            request.storage,
            request.trials,
            request.pruner,
            request.seed,
        )
        for kept_out in untouched
    ]
    searched = {each.key for each in searches[0].space.dimensions}
    if fixed := [change for change in request.overrides if _parameter(run, change) in searched]:
        raise UserError(
            f"--set {fixed[0]}: the search changes this parameter. To fix it, remove it from the table [search]."
        )
    return run, searches


def _parameter(run: Run, change: str) -> str:
    """Return the present name of the parameter that `--set KEY=VALUE` changes."""
    return current_name(run.experiment.model, parse_change(change)[0])


def _search(request: TuneRequest, search: Search, deadline: float | None) -> Study:
    """Return the study after this process, or several, have taken its trials."""
    say(f"{search.run.experiment.label}: fold {search.untouched} is kept out of the search.")
    say(f"Study {search.name!r} in {search.place if not search.storage else 'the given storage'}")
    if request.jobs > 1:
        _run_workers(request, search.untouched, deadline)
    # After several workers, only trials remain that a worker left unfinished when it died.
    return work(search, deadline)


def _run_workers(request: TuneRequest, untouched: int, deadline: float | None) -> None:
    """Run several worker processes that share the cores of this machine, and wait for them."""
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
        # A terminal interrupts the workers too; a signal to this process alone does not.
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
    """Take trials in one of several processes."""
    with messages_to(say):
        try:
            _, searches = plan(request)
            work(next(each for each in searches if each.untouched == untouched), deadline)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except UserError as error:
            say(f"Error: {error}")
            raise SystemExit(2) from None
