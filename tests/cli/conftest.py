"""Finished runs that the tests of the command line share."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kept_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `run_once` keeps what commands have written."""
    return tmp_path_factory.mktemp("kept-runs")


@pytest.fixture
def run_once(call, kept_folders: Path) -> Callable[..., None]:
    """A function that calls `run`: once per session, and its results are copied to ./runs for every later test.

    It sees changes in the files of ./experiments, and none in the battles or in the code of a model.
    """

    def copy_or_run(*arguments: str, data: str = "data") -> None:
        files = {file.name: file.read_text() for file in sorted(Path("experiments").glob("*.toml"))}
        kept = kept_folders / hashlib.sha256(repr((arguments, data, files)).encode()).hexdigest()[:16]
        if kept.exists():
            shutil.copytree(kept, "runs", dirs_exist_ok=True)
        else:
            assert call("run", *arguments, "--data", data).code == 0
            shutil.copytree("runs", kept)

    return copy_or_run
