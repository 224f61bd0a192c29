"""The same numbers where a user keeps those of other projects: MLflow, Trackio, TensorBoard or Weights & Biases.

Off unless asked for. The trackers' own clients write, by way of accelerate, and the Trainer's integration adds the
steps of a fine-tuning to the same run. Where they write to is set as those clients want it (MLFLOW_TRACKING_URI,
TENSORBOARD_LOGGING_DIR, WANDB_MODE and the like).
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from pairrank.errors import UserError
from pairrank.nested import dotted_items

VARIABLE = "PAIRRANK_TRACK"
"""Names the tracker in the environment, so that worker processes and the training deep below know it too."""
RUN = "PAIRRANK_TRACKED_RUN"
"""Names the run that is open."""
PROJECT = "pairrank"
"""What the trackers call all of this, unless the user's own variables say otherwise."""


class Tracker(StrEnum):
    """Whose client writes; the package it comes in has the same name."""

    MLFLOW = "mlflow"
    TRACKIO = "trackio"
    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


Log = Callable[[Mapping[str, float | int | None]], None]


def track_with(name: Tracker) -> None:
    """Track every run of this process and its workers; raises UserError where the tracker is not installed."""
    if importlib.util.find_spec(name) is None:
        raise UserError(f"--track {name}: the package {name} is not installed. pip install {name}")
    os.environ[VARIABLE] = name


def tracker() -> str:
    """The tracker in use; "" for none."""
    return os.environ.get(VARIABLE, "")


def run_name() -> str | None:
    """What the tracker calls the run that is open."""
    return os.environ.get(RUN)


@contextmanager
def untracked() -> Iterator[None]:
    """Runs inside are a part of another run, and no runs to look at."""
    with _environment({VARIABLE: ""}):
        yield


@contextmanager
def tracked(name: str, settings: Mapping[str, Any], runs: Path) -> Iterator[Log]:
    """A run of the tracker; the function it gives logs numbers there, or nowhere where none is in use.

    What a tracker keeps in files goes beside the runs, unless its own variables name another place.
    """
    if not (kind := tracker()):
        yield lambda _: None
        return
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()
    place = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or runs / "tensorboard")
    with _environment({RUN: name} | _variables(kind, place / name, runs)):
        client = LOGGER_TYPE_TO_CLASS[kind](**_options(kind, name, place))
        client.start()
        client.store_init_configuration({key: _plain(value) for key, value in dotted_items(settings)})

        def log(numbers: Mapping[str, float | int | None]) -> None:
            if kind == Tracker.TRACKIO:
                client.start()  # the Trainer's integration has closed the run; of this name it is taken up again
            client.log({key: value for key, value in numbers.items() if value is not None})

        try:
            yield log
        except BaseException:
            _fail(kind)
            raise
        finally:
            client.finish()


def _fail(kind: str) -> None:
    """End the run as one that failed, in the trackers that know the difference; accelerate's classes do not."""
    if kind == Tracker.MLFLOW:
        import mlflow

        mlflow.end_run("FAILED")
    elif kind == Tracker.WANDB:
        import wandb

        wandb.finish(exit_code=1)


def _options(kind: str, name: str, place: Path) -> dict[str, Any]:
    """What accelerate's class for this tracker is made with: what it calls the run's name is the project's."""
    if kind == Tracker.MLFLOW:
        return {"experiment_name": PROJECT, "run_name": name}
    if kind == Tracker.TENSORBOARD:
        return {"run_name": name, "logging_dir": place}
    return {"run_name": PROJECT, "name": name} | ({"resume": "allow"} if kind == Tracker.TRACKIO else {})


def whereabouts(runs: Path) -> str:
    """Where the tracker in use keeps what it is told, and how to look at it."""
    kind = tracker()
    if kind == Tracker.MLFLOW:
        return f"mlflow ui --backend-store-uri {_variables(kind, runs, runs)['MLFLOW_TRACKING_URI']}"
    if kind == Tracker.TENSORBOARD:
        place = os.environ.get("TENSORBOARD_LOGGING_DIR") or runs / "tensorboard"
        return f"tensorboard --logdir {place}"
    return f"{kind}, project {PROJECT}"


def _variables(kind: str, place: Path, runs: Path) -> dict[str, str]:
    """Where the Trainer's own integration finds the same run."""
    if kind == Tracker.TENSORBOARD:
        return {"TENSORBOARD_LOGGING_DIR": str(place)}
    defaults = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{runs.resolve() / 'mlflow.db'}",
        "MLFLOW_EXPERIMENT_NAME": PROJECT,
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()} if kind == Tracker.MLFLOW else {}


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    """These variables for a while, and then what was there before."""
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


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)
