"""The current folder of the tests of searches."""

from pathlib import Path

import pytest

from pairrank.data.simulation import write_arena
from tests.support.studies import write_experiment


@pytest.fixture
def arena_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ./arena (200 simulated battles and 30 to predict) and ./experiments/small.toml."""
    monkeypatch.chdir(tmp_path)
    write_arena(Path("arena"), 200, 30, seed=0)
    write_experiment("small")
    return tmp_path
