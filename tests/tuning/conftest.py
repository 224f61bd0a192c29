"""The current folder of the tests of searches."""

import shutil
from pathlib import Path

import pytest

from pairrank.data.simulation import write_arena
from tests.support.studies import write_experiment


@pytest.fixture(scope="session")
def arena_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./arena (200 simulated battles and 30 to predict) and ./experiments/small.toml, to copy."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_arena(Path("arena"), 200, 30, seed=0)
        write_experiment("small")
    return folder


@pytest.fixture
def arena_here(arena_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of the template."""
    shutil.copytree(arena_template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
