"""The current folder of the tests of searches, and databases that do not wait for the disk."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

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


@pytest.fixture(autouse=True, scope="session")
def no_wait_of_databases() -> Iterator[None]:
    """Commit without waiting until the bytes are on the disk, as `no_wait_for_the_disk` does for other files."""

    def hurry(connection: Any, _: Any) -> None:
        with suppress(sqlite3.Error):  # a damaged database
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


@pytest.fixture
def arena_here(arena_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of the template."""
    shutil.copytree(arena_template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
