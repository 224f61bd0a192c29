"""A Ray cluster trains folds and predicts shards of battles. No other module uses Ray, an optional dependency.

Every machine needs this version of pairrank and, under the same paths, the folder of the data, the folder of the
runs and the working folder of the command. A worker writes a fold where `run` would write it, so that the successor
of a lost worker resumes from its last complete epoch.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pairrank import plugins
from pairrank.cli.console import say
from pairrank.cli.messages import ignore, messages_to
from pairrank.data.battles import Battles
from pairrank.data.folder import DataFolder
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from pairrank.runs.cross_validation import cross_validate, make_fold
from pairrank.runs.fold_models import FoldModels, load_fold_models
from pairrank.runs.run import Run, all_inputs, moved
from pairrank.training.tracking import Tracker, track_with, tracker

CONNECT_SECONDS = 5.0
"""Seconds within which a cluster must answer at its address."""

RETRIES = 3
"""How often a task is repeated after its worker was lost."""

SHARED_VARIABLES = ("PAIRRANK_NO_CACHE", "PAIRRANK_CACHE", "PAIRRANK_CACHE_GB", "PAIRRANK_SCHEMAS")
"""Environment variables that workers on other machines get from this process."""


@dataclass(frozen=True)
class Cluster:
    """The resources of one task, a fold or a shard; None means a default that depends on the cluster."""

    cpus: int | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class RemoteFold:
    """A fold that a worker trains."""

    run: Run
    fold: int
    working_folder: Path
    """The folder that the paths of an experiment are relative to."""
    tracker: Tracker | None = None


def make_folds(
    runs: Sequence[Run], folds: Sequence[int] | None, cluster: Cluster, count: Callable[[str], None]
) -> None:
    """Train the folds of these runs and of all their inputs, as many at once as the cluster has capacity for.

    `folds` are those of the named runs, by default all; inputs get all their folds. A run begins when its inputs
    are complete. `count` receives the progress. Raises UserError if a fold fails, or loses its worker too often.
    """
    every = {each.folder: each for run in runs for each in (*all_inputs(run), run)}
    inputs = {each.folder for run in runs for each in all_inputs(run)}
    wanted = {
        folder: list(range(run.experiment.folds)) if folder in inputs or not folds else list(folds)
        for folder, run in every.items()
    }
    ray, total = _connect(), sum(map(len, wanted.values()))
    task = ray.remote(_train_fold).options(max_retries=RETRIES, **_resources(ray, cluster, total))
    waiting, complete = dict(every), set[Path]()
    running: dict[Any, Path] = {}
    while waiting or running:
        for folder, run in list(waiting.items()):
            if all(each.folder in complete for each in run.inputs):
                del waiting[folder]
                running |= {task.remote(each): folder for each in _remote_folds(run, wanted[folder])}
        count(f"{total - len(running) - sum(len(wanted[folder]) for folder in waiting)} of {total} folds")
        for reference in ray.wait(list(running))[0]:
            folder = running.pop(reference)
            for line in _result(ray, reference, f"a fold of {every[folder].experiment.label}"):
                say(line)
        for folder in every.keys() - waiting.keys() - set(running.values()) - complete:
            # This combines the folds in the run's own files; the workers have reported them already.
            with messages_to(ignore):
                cross_validate(every[folder], wanted[folder])
            complete.add(folder)


def _remote_folds(run: Run, folds: Sequence[int]) -> list[RemoteFold]:
    """Return the folds of a run for workers, which find its data by an absolute path."""
    shared = moved(run, DataFolder(run.data.path.resolve(), label=run.data.name), run.folder.parent)
    return [RemoteFold(shared, fold, Path.cwd(), tracker()) for fold in folds]


def scorer(folder: Path, cluster: Cluster) -> Callable[[Iterable[Battles]], Iterator[Predictions]]:
    """Return a function that predicts parts of battles in their order, on the whole capacity of the cluster."""
    ray = _connect()
    resources = _resources(ray, cluster, None)
    capacity = _capacity(ray, resources)
    actor = ray.remote(_Scorer).options(max_restarts=RETRIES, max_task_retries=RETRIES, **resources)
    scorers = [actor.remote(folder.resolve()) for _ in range(capacity)]

    def score(parts: Iterable[Battles]) -> Iterator[Predictions]:
        waiting: deque[Any] = deque()
        for i, battles in enumerate(parts):
            waiting.append(scorers[i % capacity].predict.remote(battles))
            # Two for each worker: one is predicted while the other one waits. More would need too much memory.
            if len(waiting) >= 2 * capacity:
                yield _result(ray, waiting.popleft(), "a shard")
        while waiting:
            yield _result(ray, waiting.popleft(), "a shard")

    return score


class _Scorer:
    """The models of a run on a worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def models(self) -> FoldModels:
        # Loaded with the first battles: Ray reports an error in the constructor as a lost worker.
        return load_fold_models(self.folder)

    def predict(self, battles: Battles) -> Predictions:
        return self.models.predict(battles)


def _train_fold(work: RemoteFold) -> list[str]:
    """Train one fold on a worker; return its messages, which the driver prints."""
    os.chdir(work.working_folder)
    if work.tracker:
        track_with(work.tracker)
    lines: list[str] = []
    with messages_to(lines.append):
        make_fold(work.run, work.fold)
    return lines


def _connect() -> Any:
    """Return Ray, connected to the cluster at $RAY_ADDRESS or to a new one on this machine."""
    # Ray would send usage statistics to its developers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--engine ray: Ray is not installed. Install it with: pip install 'pairrank[ray]'"
        ) from None
    if not ray.is_initialized():
        try:
            _check_address(os.environ.get("RAY_ADDRESS", ""))
            # Workers use the same cache, or none with --no-cache.
            shared = {name: os.environ[name] for name in SHARED_VARIABLES if name in os.environ}
            shared |= plugins.variable()
            ray.init(
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": shared} if shared else None,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"--engine ray: no cluster can be reached ({error}).") from error
    return ray


def _check_address(address: str) -> None:
    """Raise OSError if nothing listens at this host:port; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _resources(ray: Any, cluster: Cluster, pieces: int | None) -> dict[str, float]:
    """Return the resources of a task: as requested, or an equal share of the CPUs and a GPU if there is one.

    A task runs on one machine, so its share is at most what the largest machine has. Raises UserError if no
    machine has what was requested.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([machine.get(name, 0) for machine in machines] for name in ("CPU", "GPU"))
    shared = int(sum(cpus)) // pieces if pieces else 1
    each = cluster.cpus or max(1, min(shared, int(max(cpus))))
    graphics = cluster.gpus if cluster.gpus is not None else min(1, max(gpus))
    if not any(each <= machine.get("CPU", 0) and graphics <= machine.get("GPU", 0) for machine in machines):
        raise UserError(
            f"--engine ray: a task needs {each:g} CPUs and {graphics:g} GPUs, but no machine has as many: the "
            f"largest has {max(cpus):g} and {max(gpus):g}. Request less with --task-cpus and --task-gpus."
        )
    say(f"Ray: {sum(cpus):g} CPUs and {sum(gpus):g} GPUs; a task takes {each:g} and {graphics:g}.")
    return {"num_cpus": each, "num_gpus": graphics}


def _capacity(ray: Any, resources: dict[str, float]) -> int:
    """Return how many tasks can run at once, each on one machine."""
    capacity = 0
    for node in ray.nodes():
        if node["Alive"]:
            free = node["Resources"]
            fits = [free.get("CPU", 0) // resources["num_cpus"]]
            if resources["num_gpus"]:
                fits.append(free.get("GPU", 0) // resources["num_gpus"])
            capacity += int(min(fits))
    return capacity


def _result(ray: Any, reference: Any, what: str) -> Any:
    """Return what a worker returned; raises its UserError, and UserError if it was lost too often."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.ActorDiedError,
        ray.exceptions.NodeDiedError,
    ) as error:
        raise UserError(f"{what}: its worker was lost {RETRIES + 1} times ({type(error).__name__}).") from error
    except ray.exceptions.RayError as error:
        raise UserError(f"{what}: {type(error).__name__}: {error}") from error
