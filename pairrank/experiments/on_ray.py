"""Folds and shards of battles on a Ray cluster: the only file that knows Ray, which the extra [ray] brings.

Every machine needs this version of pairrank, and the folders of the data and of the runs under the same paths.
A worker leaves a fold where `run` would leave it, so that a lost worker's successor goes on from its last whole
epoch.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairrank.battles import Battles
from pairrank.config import Experiment
from pairrank.crossval import cross_validate, make_fold
from pairrank.data_folder import DataFolder
from pairrank.errors import UserError
from pairrank.fold_identity import identity_of
from pairrank.fold_models import load_fold_models
from pairrank.predictions import Predictions
from pairrank.run_folder import finished_folds
from pairrank.runs import Run, all_inputs, start_run

RETRIES = 3
"""How often a piece of work whose worker was lost is given to another one."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Cluster:
    """What one piece of work, a fold or a shard, needs of the machines; None chooses by what there is."""

    cpus: int | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class Work:
    """A fold in few words, for a worker to make."""

    experiment: Experiment
    data: DataFolder
    run_folder: Path
    fold: int
    called_in: Path
    """The folder that paths of an experiment are relative to."""


def make_folds(runs: Sequence[Run], folds: Sequence[int] | None, cluster: Cluster, say: Say, count: Say) -> None:
    """Make the folds of these runs and of all they build on, as many at once as the cluster has room for.

    A run begins when its inputs are whole. Raises UserError where a fold fails, or loses its worker too often.
    """
    every = {each.folder: each for run in runs for each in (*all_inputs(run), run)}
    asked = {run.folder for run in runs}
    wanted = {
        folder: list(folds) if folds and folder in asked else list(range(run.experiment.folds))
        for folder, run in every.items()
    }
    ray = _started()
    task = ray.remote(_make)
    needs = _needs(ray, cluster, max(map(len, wanted.values())), say)
    waiting, whole = dict(every), set[Path]()
    running: dict[Any, Path] = {}
    done, total = 0, sum(map(len, wanted.values()))
    while waiting or running:
        for folder, run in list(waiting.items()):
            if any(each.folder not in whole for each in run.inputs):
                continue
            del waiting[folder]
            before = finished_folds(folder, run.experiment.folds, identity_of(run))
            for fold in wanted[folder]:
                if fold in before:
                    # If its files are damaged, or the test battles are others, it is mended here.
                    make_fold(run, fold, say)
                    done += 1
                else:
                    work = Work(run.experiment, DataFolder(run.data.path.resolve()), folder, fold, Path.cwd())
                    running[task.options(max_retries=RETRIES, **needs).remote(work)] = folder
        count(f"{done} of {total} folds")
        for reference in ray.wait(list(running))[0] if running else []:
            folder = running.pop(reference)
            for line in _result(ray, reference, f"a fold of {every[folder].experiment.label}"):
                say(line)
            done += 1
        for folder in every.keys() - waiting.keys() - set(running.values()) - whole:
            # Gathered by id into the run's own files.
            cross_validate(every[folder], wanted[folder])
            whole.add(folder)


def scorer(folder: Path, cluster: Cluster, say: Say) -> Callable[[Iterable[Battles]], Iterator[Predictions]]:
    """What predicts parts of battles with a run's models, in their order, on all the room that the cluster has."""
    ray = _started()
    needs = _needs(ray, cluster, None, say)
    room = int(ray.cluster_resources().get("CPU", 1) // needs["num_cpus"]) or 1
    actor = ray.remote(_Scorer).options(max_restarts=RETRIES, max_task_retries=RETRIES, **needs)
    scorers = [actor.remote(folder.resolve()) for _ in range(room)]

    def score(parts: Iterable[Battles]) -> Iterator[Predictions]:
        asked: deque[Any] = deque()
        for i, battles in enumerate(parts):
            asked.append(scorers[i % room].predict.remote(battles))
            # Two for each: one that is predicted, one that waits. More would fill the memory.
            if len(asked) >= 2 * room:
                yield _result(ray, asked.popleft(), "a shard")
        while asked:
            yield _result(ray, asked.popleft(), "a shard")

    return score


class _Scorer:
    """A run's models on a worker."""

    def __init__(self, folder: Path) -> None:
        self.models = load_fold_models(folder)

    def predict(self, battles: Battles) -> Predictions:
        return self.models.predict(battles)


def _make(work: Work) -> list[str]:
    """Make one fold on a worker; returns what it says."""
    os.chdir(work.called_in)
    lines: list[str] = []
    make_fold(start_run(work.experiment, work.data, work.run_folder.parent), work.fold, lines.append)
    return lines


def _started() -> Any:
    """Ray, connected to the cluster of $RAY_ADDRESS, or to one that it starts on this machine."""
    # It would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--engine ray: Ray is not installed. Install it with: pip install 'pairrank[ray]'"
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--engine ray: no cluster can be reached ({error}).") from error
    return ray


def _needs(ray: Any, cluster: Cluster, at_once: int | None, say: Say) -> dict[str, float]:
    """What a piece of work is given: as asked, or a share of the CPUs, and a GPU if there is one."""
    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 1)), there.get("GPU", 0)
    each = cluster.cpus or max(1, cpus // (at_once or cpus))
    graphics = cluster.gpus if cluster.gpus is not None else min(1, gpus)
    if each > cpus or graphics > gpus:
        raise UserError(
            f"--engine ray: a piece of work is to have {each} CPUs and {graphics:g} GPUs, and the cluster has "
            f"{cpus} and {gpus:g} in all. Ask for less with --task-cpus and --task-gpus."
        )
    say(f"Ray: {cpus} CPUs and {gpus:g} GPUs; a piece of work takes {each} and {graphics:g}.")
    return {"num_cpus": each, "num_gpus": graphics}


def _result(ray: Any, reference: Any, what: str) -> Any:
    """What a worker returned; its user's mistake is this one's, and a worker lost too often one message."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise UserError(f"{what}: its worker was lost {RETRIES + 1} times ({type(error).__name__}).") from error
