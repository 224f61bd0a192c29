"""Runs are also recorded in an experiment tracker: MLflow, Trackio, TensorBoard or Weights & Biases.

Tracking is off unless requested. The trackers' own clients write, through accelerate, and the Trainer's integration
adds the steps of a fine-tuning to the same run. The clients' own environment variables (MLFLOW_TRACKING_URI,
TENSORBOARD_LOGGING_DIR, WANDB_MODE and others) determine where they write.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pairrank.errors import UserError
from pairrank.nested import dotted_items

PROJECT = "pairrank"
"""Name of the project in the trackers, unless their own variables name another."""


class Tracker(StrEnum):
    """The supported trackers; the Python package of each has the same name."""

    MLFLOW = "mlflow"
    TRACKIO = "trackio"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


@dataclass(frozen=True)
class _Tracking:
    tracker: Tracker | None = None
    run: str | None = None
    """Name of the open run."""


_OFF = _Tracking()
_current: ContextVar[_Tracking] = ContextVar("tracking", default=_OFF)

Log = Callable[[Mapping[str, float | int | None]], None]
"""Records numbers by name; None is left out."""


def track_with(name: str) -> None:
    """Track every later run of this process; raises UserError if the tracker is not installed.

    A worker process must call this again: it does not know the choice of the process that started it.
    """
    if importlib.util.find_spec(name) is None:
        raise UserError(f"--track {name}: the package {name} is not installed. Install it with: pip install {name}")
    _current.set(_Tracking(Tracker(name)))


def tracker() -> Tracker | None:
    """Return the tracker in use."""
    return _current.get().tracker


def run_name() -> str | None:
    """Return the name of the open run in the tracker."""
    return _current.get().run


@contextmanager
def untracked() -> Iterator[None]:
    """Turn tracking off in this block, for runs that are only a step within another run."""
    with _set_current(replace(_current.get(), tracker=None)):
        yield


@contextmanager
def tracked(name: str, settings: Mapping[str, Any], runs: Path) -> Iterator[Log]:
    """Open a run of the tracker and yield a function that records numbers in it; does nothing without a tracker.

    `settings` are recorded with the run. `runs` is the folder of pairrank's runs; a tracker that writes files puts
    them there, unless its own variables name another place. An exception in the block marks the run as failed.
    """
    kind = tracker()
    if kind is None:
        yield lambda _: None
        return
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()
    home = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or runs / "tensorboard")
    with _set_current(_Tracking(kind, name)), _environment(_variables(kind, home / name, runs)):
        client = LOGGER_TYPE_TO_CLASS[kind](**_client_options(kind, name, home))
        client.start()
        client.store_init_configuration({key: _as_plain(value) for key, value in dotted_items(settings)})

        def log(numbers: Mapping[str, float | int | None]) -> None:
            if kind == Tracker.TRACKIO:
                client.start()  # the Trainer's integration has closed the run; the same name opens it again
            client.log({key: value for key, value in numbers.items() if value is not None})

        try:
            yield log
        except BaseException:
            _mark_failed(kind)
            raise
        finally:
            client.finish()


@contextmanager
def _set_current(tracking: _Tracking) -> Iterator[None]:
    token = _current.set(tracking)
    try:
        yield
    finally:
        _current.reset(token)


def _mark_failed(kind: Tracker) -> None:
    """End the run as failed in the trackers that have such a status, because accelerate's classes do not."""
    if kind == Tracker.MLFLOW:
        import mlflow

        mlflow.end_run("FAILED")
    elif kind == Tracker.WANDB:
        import wandb

        wandb.finish(exit_code=1)


def _client_options(kind: Tracker, name: str, home: Path) -> dict[str, Any]:
    """Return the arguments of accelerate's class for this tracker; most call the project `run_name`."""
    if kind == Tracker.MLFLOW:
        return {"experiment_name": PROJECT, "run_name": name}
    if kind == Tracker.TENSORBOARD:
        return {"run_name": name, "logging_dir": home}
    return {"run_name": PROJECT, "name": name} | ({"resume": "allow"} if kind == Tracker.TRACKIO else {})


def how_to_view(runs: Path) -> str:
    """Return the command that shows the tracked runs, or the names of the tracker and its project."""
    kind = tracker()
    if kind is None:
        return ""
    if kind == Tracker.MLFLOW:
        return f"mlflow ui --backend-store-uri {_variables(kind, runs, runs)['MLFLOW_TRACKING_URI']}"
    if kind == Tracker.TENSORBOARD:
        home = os.environ.get("TENSORBOARD_LOGGING_DIR") or runs / "tensorboard"
        return f"tensorboard --logdir {home}"
    return f"{kind}, project {PROJECT}"


def _variables(kind: Tracker, place: Path, runs: Path) -> dict[str, str]:
    """Return the environment variables by which the Trainer's own integration finds the same run."""
    if kind == Tracker.TENSORBOARD:
        return {"TENSORBOARD_LOGGING_DIR": str(place)}
    defaults = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{runs.resolve() / 'mlflow.db'}",
        "MLFLOW_EXPERIMENT_NAME": PROJECT,
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()} if kind == Tracker.MLFLOW else {}


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in this block and restore them afterwards."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _as_plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
