"""A search for better parameters, whose best setting is compared with the old one on a fold that it never used."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from optuna.study import Study

from pairrank.api.experiments import Settings, settings_as_texts
from pairrank.api.sources import DataLike, find_source, home_of
from pairrank.api.tuning_results import NestedTuning, Tuning, judge_nested, judge_search
from pairrank.errors import UserError
from pairrank.models.base import current_name
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.overrides import parse_change
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run
from pairrank.tuning.sampling import Pruner
from pairrank.tuning.search import Search
from pairrank.tuning.verdict import tuned_file
from pairrank.tuning.worker import work

logger = logging.getLogger(__name__)

WorkerContext: TypeAlias = Callable[[], AbstractContextManager[None]]
"""A function that workers can import; what it returns is entered while they work."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class TuneRequest:
    """The arguments and options of `tune`, as plain values that can be passed to another process."""

    name: str
    data: DataLike = None
    runs: str | Path | None = None
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


def tune(
    experiment: str | Path,
    data: DataLike = None,
    *,
    trials: int = 60,
    timeout: float | None = None,
    folds: Sequence[int] = (),
    untouched: int | None = None,
    nested: bool = False,
    pruner: Pruner = "median",
    seed: int = 0,
    settings: Settings = (),
    jobs: int = 1,
    storage: str = "",
    runs: str | Path | None = None,
) -> Tuning | NestedTuning:
    """Search for better parameters, and test the best setting on a fold that the search never used.

    It is the command `tune`: the table [search] of the experiment's file lists the parameters that may change. If
    the best setting improves and the untouched fold does not contradict it, it is written to
    experiments/NAME-tuned.toml. A call after an interruption, with the same arguments, resumes the study.

    - `experiment`: the name of an experiment, or the path of its file. `data` and `runs`: as in `cross_validate`.
    - `trials`: number of finished trials. `timeout`: seconds after which no trial is begun.
    - `folds`: score trials on these only; () for all but the untouched one. `untouched`: None for the last fold.
    - `nested`: search separately for each fold, for one unbiased figure over all folds. Returns a `NestedTuning`.
    - `pruner`: "median", "hyperband" or "none". `seed`: random seed of the settings that are tried.
    - `settings`: fixed changes of other parameters.
    - `jobs`: worker processes. A script that uses them needs `if __name__ == "__main__":` around the call.
    - `storage`: URL of a database that workers on several machines share; "" for a file in the folder of the runs.

    Raises UserError for every mistake that the command reports.
    """
    request = TuneRequest(
        str(experiment),
        data,
        runs,
        trials,
        timeout,
        storage,
        jobs,
        tuple(sorted(set(folds))),
        untouched,
        nested,
        pruner,
        seed,
        tuple(settings_as_texts(settings)),
    )
    run, searches, studies = search_all(request)
    if nested:
        return judge_nested(run, searches, studies)
    return judge_search(searches[0], studies[0])


def search_all(
    request: TuneRequest, in_workers: WorkerContext = nullcontext
) -> tuple[Run, list[Search], list[Study]]:
    """Check everything, take the trials of every search, and return the run with its searches and their studies.

    `in_workers` is the context of worker processes, such as one that shows their messages.
    """
    run, searches = plan(request)
    if not request.nested:
        tuned_file(searches[0])
    for search in searches:
        # A database that is missing or belongs to another study is refused before any work.
        search.open()
    deadline = None if request.timeout is None else time.time() + request.timeout
    studies = []
    for done, search in enumerate(searches):
        # The remaining time is shared equally among the remaining searches.
        now, remaining = time.time(), len(searches) - done
        share = deadline and now + (deadline - now) / remaining
        studies.append(_search(request, search, share, in_workers))
    return run, searches, studies


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


def _search(request: TuneRequest, search: Search, deadline: float | None, in_workers: WorkerContext) -> Study:
    """Return the study after this process, or several, have taken its trials."""
    logger.info(f"{search.run.experiment.label}: fold {search.untouched} is kept out of the search.")
    logger.info(f"Study {search.name!r} in {search.place if not search.storage else 'the given storage'}")
    if request.jobs > 1:
        _run_workers(request, search.untouched, deadline, in_workers)
    # After several workers, only trials remain that a worker left unfinished when it died.
    return work(search, deadline)


def _run_workers(request: TuneRequest, untouched: int, deadline: float | None, in_workers: WorkerContext) -> None:
    """Run several worker processes that share the cores of this machine, and wait for them."""
    share = str(max(1, (os.cpu_count() or 1) // request.jobs))
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ |= dict.fromkeys(THREADS, share)
    context = multiprocessing.get_context("spawn")
    arguments = (request, untouched, deadline, in_workers)
    workers = [context.Process(target=_worker, args=arguments) for _ in range(request.jobs)]
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
        logger.info(f"{len(died)} of {len(workers)} workers ended early (exit code {', '.join(map(str, died))}).")


def _worker(request: TuneRequest, untouched: int, deadline: float | None, in_workers: WorkerContext) -> None:
    """Take trials in one of several processes."""
    with in_workers():
        try:
            _, searches = plan(request)
            work(next(each for each in searches if each.untouched == untouched), deadline)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except UserError as error:
            logger.error(f"Error: {error}")
            raise SystemExit(2) from None
