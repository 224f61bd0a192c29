"""Runs of small models on tiny battles, and what they leave in their folders."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairrank.data.extra import Extra
from pairrank.data.folder import DataFolder
from pairrank.errors import UserError
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run

PRIOR = Experiment("prior", "frequencies", "prior", {"smoothing": 1.0})
MEMORY = Experiment("memory", "a leak detector", "memory", {"sureness": 0.9, "seed": 0})
DIVERGED = Experiment("diverged", "a memory with NaN in its history", "diverged", {"sureness": 0.9, "seed": 0})


def run_on(data: DataFolder, folder: Path, experiment: Experiment = MEMORY) -> Run:
    """Return the run of an experiment, in the folder's `runs`, on data that are read again from their files."""
    return resolve_run(experiment, DataFolder(data.path), folder / "runs")


def run_with_extra(data: DataFolder, *extra: Extra) -> Run:
    """Return the run of a memory that learns from these sources of extra battles, next to its data."""
    experiment = Experiment("memory", "a leak detector", "memory", {"sureness": 0.9, "seed": 0}, extra=extra)
    return run_on(data, data.path.parent, experiment)


def load_run(folder: Path, name: str = "echo", data: str = "data", **options: Any) -> Run:
    """Return the run of an experiment file on data in a subfolder, with options of `load_experiment`."""
    return resolve_run(load_experiment(name, **options), DataFolder(folder / data), folder / "runs")


def write_toml(folder: Path, text: str, name: str = "mine") -> str:
    """Write an experiment file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def write_experiment(folder: Path, name: str, text: str) -> None:
    """Write an experiment that is found by its name when `folder` is the current one."""
    write_toml(folder / "experiments", text, name)


def complaint(call: Callable[[], object]) -> str:
    """Return the message of the UserError that a call raises."""
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def expected_fold(prompt: str, salt: str = "") -> int:
    """Return the fold of a prompt by the rule written out; prompts of tiny battles need only `casefold`."""
    digest = hashlib.sha256(salt.encode() + b"\0" + prompt.casefold().encode()).digest()
    return int.from_bytes(digest[:8], "big") % 5


def fits(folder: Path) -> list[tuple[str, list[str]]]:
    """Return (fold folder, ids trained on) of every training of a memory for a run, former results first."""
    former = sorted((folder.parent / "history" / folder.name).glob("*/fits.txt"))
    files = [file for file in (*former, folder / "fits.txt") if file.is_file()]
    return [tuple(json.loads(line)) for file in files for line in file.read_text().splitlines()]


def inner_fits(run: Run, fold: int) -> list[tuple[str, list[str]]]:
    """Return the trainings of the memory that is trained inside one fold of a run."""
    return fits(run.folder / "inner" / f"fold{fold}" / "memory")


def inputs_of_echo(run: Run, fold: int) -> dict[str, list[list[float]]]:
    """Return the predictions of the inputs for each training battle of a fold, as an echo was given them."""
    return json.loads((run.folder / f"fold{fold}" / "inputs.json").read_text())


def untimed_files(run: Run) -> dict[str, bytes]:
    """Return the content of every file of a run except those that hold times."""
    timed = {"metrics.json", "fold.json", "fits.txt"}
    files = [file for file in sorted(run.folder.rglob("*")) if file.is_file() and file.name not in timed]
    return {str(file.relative_to(run.folder)): file.read_bytes() for file in files}


def remove_keys(file: Path, *keys: str) -> None:
    """Remove keys from a JSON file that holds an object, as files of earlier versions lack them."""
    values = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in values.items() if key not in keys}))
