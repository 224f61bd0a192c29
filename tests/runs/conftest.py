"""Fixtures of runs: data, experiments that build on each other, and finished runs that tests share."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pairrank.data.folder import DataFolder
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.run import Run
from tests.support.battles import write_folder
from tests.support.runs import write_experiment


@pytest.fixture
def data(tmp_path: Path, add_model) -> DataFolder:
    """Tiny battles, with the example model `memory` added."""
    add_model("memory")
    return DataFolder(write_folder(tmp_path / "data"))


@pytest.fixture
def workspace(tmp_path: Path, add_model, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with tiny battles in ./data and experiments that build on each other.

    `memory` remembers its training prompts, `echo` predicts what its first input (memory) predicts, and `twice`
    what echo predicts.
    """
    add_model("memory")
    add_model("echo")
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path, "memory", '[model]\nname = "memory"')
    write_experiment(tmp_path, "frequencies", '[model]\nname = "prior"')
    write_experiment(tmp_path, "echo", 'inputs = ["memory", "frequencies"]\n[model]\nname = "echo"')
    write_experiment(tmp_path, "twice", 'inputs = ["echo", "memory"]\n[model]\nname = "echo"')
    write_folder(tmp_path / "data")
    return tmp_path


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `finish` keeps what it has trained."""
    return tmp_path_factory.mktemp("finished-runs")


@pytest.fixture
def finish(finished_runs: Path) -> Callable[[Run], Run]:
    """A function that gives a run its results: trained once per session, and copied for every later test.

    It does not see changes in the code of a model: tests that change one call `cross_validate`.
    """

    def copy_or_train(run: Run) -> Run:
        kept = finished_runs / hashlib.sha256(repr(_parts(run)).encode()).hexdigest()[:16]
        if kept.exists():
            shutil.copytree(kept, run.folder.parent, dirs_exist_ok=True)
        else:
            cross_validate(run)
            shutil.copytree(run.folder.parent, kept)
        return run

    return copy_or_train


def _parts(run: Run) -> list[object]:
    """Return what the results of a run depend on, except code."""
    return [run.settings, run.data_record, run.test_hash, [_parts(each) for each in run.builds_on]]
