"""The program finds a planted leak, and nothing where the winners are shuffled."""

import json
from pathlib import Path

import pytest

from benchmarks import leaks
from pairrank.data.simulation import write_arena


@pytest.mark.slow
def test_a_planted_leak_is_told_from_honest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_arena(tmp_path / "data", 300, 5, seed=3)
    monkeypatch.setattr(leaks, "SHUFFLED", ("structure",))
    monkeypatch.setattr(leaks, "PLANTED", (("structure", leaks.scored_battles_in_training),))
    arguments = ["leaks", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", arguments)
    leaks.main()
    shuffled, planted = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert shuffled["battles"] == planted["battles"] >= 50
    assert shuffled["high"] > 0
    assert planted["high"] < 0
