"""Folds and shards of battles on a Ray cluster: the only file that knows Ray, which the extra [ray] brings.

Every machine needs this version of pairrank and, under the same paths, the folders of the data and of the runs, and
the one that the command is called in. A worker leaves a fold where `run` would leave it, so that a lost worker's
successor goes on from its last whole epoch.
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

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds within which a cluster answers at its address."""

RETRIES = 3
"""How often a piece of work whose worker was lost is given to another one."""

TOLD = ("PAIRRANK_NO_CACHE", "PAIRRANK_CACHE", "PAIRRANK_CACHE_GB")
"""Variables that workers on other machines must have as they are here."""


@dataclass(frozen=True)
class Cluster:
    """What one piece of work, a fold or a shard, needs of the machines; None chooses by what there is."""

    cpus: int | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class Work:
    """A fold in few words, for a worker to make."""

    run: Run
    fold: int
    called_in: Path
    """The folder that paths of an experiment are relative to."""
    tracker: Tracker | None = None


def make_folds(
    runs: Sequence[Run], folds: Sequence[int] | None, cluster: Cluster, count: Callable[[str], None]
) -> None:
    """Make the folds of these runs and of all they build on, as many at once as the cluster has room for.

    A run begins when its inputs are whole. Raises UserError where a fold fails, or loses its worker too often.
    """
    every = {each.folder: each for run in runs for each in (*all_inputs(run), run)}
    inputs = {each.folder for run in runs for each in all_inputs(run)}
    wanted = {
        folder: list(range(run.experiment.folds)) if folder in inputs or not folds else list(folds)
        for folder, run in every.items()
    }
    ray, total = _started(), sum(map(len, wanted.values()))
    needs = _needs(ray, cluster, total)
    task = ray.remote(_make).options(max_retries=RETRIES, **needs)
    waiting, whole = dict(every), set[Path]()
    running: dict[Any, Path] = {}
    while waiting or running:
        for folder, run in list(waiting.items()):
            if all(each.folder in whole for each in run.inputs):
                del waiting[folder]
                for fold in wanted[folder]:
                    data = DataFolder(run.data.path.resolve())
                    work = Work(moved(run, data, folder.parent), fold, Path.cwd(), tracker())
                    running[task.remote(work)] = folder
        count(f"{total - len(running) - sum(len(wanted[folder]) for folder in waiting)} of {total} folds")
        for reference in ray.wait(list(running))[0]:
            folder = running.pop(reference)
            for line in _result(ray, reference, f"a fold of {every[folder].experiment.label}"):
                say(line)
        for folder in every.keys() - waiting.keys() - set(running.values()) - whole:
            # Gathered by id into the run's own files; the workers have reported the folds.
            with messages_to(ignore):
                cross_validate(every[folder], wanted[folder])
            whole.add(folder)


def scorer(folder: Path, cluster: Cluster) -> Callable[[Iterable[Battles]], Iterator[Predictions]]:
    """What predicts parts of battles with a run's models, in their order, on all the room that the cluster has."""
    ray = _started()
    needs = _needs(ray, cluster, None)
    room = _room(ray, needs)
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
        self.folder = folder

    @cached_property
    def models(self) -> FoldModels:
        # Not before it is asked: what goes wrong while an actor is made, Ray tells of as a lost worker.
        return load_fold_models(self.folder)

    def predict(self, battles: Battles) -> Predictions:
        return self.models.predict(battles)


def _make(work: Work) -> list[str]:
    """Make one fold on a worker; return its messages, which the driver prints."""
    os.chdir(work.called_in)
    if work.tracker:
        track_with(work.tracker)
    lines: list[str] = []
    with messages_to(lines.append):
        make_fold(work.run, work.fold)
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
            _knock(os.environ.get("RAY_ADDRESS", ""))
            # Workers use the same cache, or none with --no-cache.
            told = {name: os.environ[name] for name in TOLD if name in os.environ}
            ray.init(
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": told} if told else None,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"--engine ray: no cluster can be reached ({error}).") from error
    return ray


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at a host:port; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def _needs(ray: Any, cluster: Cluster, pieces: int | None) -> dict[str, float]:
    """What a piece of work is given: as asked, or a share of the CPUs, and a GPU if there is one.

    A piece runs on one machine, so it is given no more than the largest one has.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([machine.get(name, 0) for machine in machines] for name in ("CPU", "GPU"))
    shared = int(sum(cpus)) // pieces if pieces else 1
    each = cluster.cpus or max(1, min(shared, int(max(cpus))))
    graphics = cluster.gpus if cluster.gpus is not None else min(1, max(gpus))
    if not any(each <= machine.get("CPU", 0) and graphics <= machine.get("GPU", 0) for machine in machines):
        raise UserError(
            f"--engine ray: a piece of work is to have {each:g} CPUs and {graphics:g} GPUs, and no machine has as "
            f"many: the largest has {max(cpus):g} and {max(gpus):g}. Ask for less with --task-cpus and --task-gpus."
        )
    say(f"Ray: {sum(cpus):g} CPUs and {sum(gpus):g} GPUs; a piece of work takes {each:g} and {graphics:g}.")
    return {"num_cpus": each, "num_gpus": graphics}


def _room(ray: Any, needs: dict[str, float]) -> int:
    """How many pieces of work can be done at once, each on one machine."""
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            there = node["Resources"]
            fits = [there.get("CPU", 0) // needs["num_cpus"]]
            if needs["num_gpus"]:
                fits.append(there.get("GPU", 0) // needs["num_gpus"])
            room += int(min(fits))
    return room


def _result(ray: Any, reference: Any, what: str) -> Any:
    """What a worker returned; its user's mistake is this one's, and a worker lost too often one message."""
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
