"""The kills of the campaign happen, and it notices a file that is written in place."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.reliability import kills
from benchmarks.reliability.__main__ import SHORT
from benchmarks.reliability.commands import call, warm_up
from pairrank.cli import simulate
from pairrank.data import simulation

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

SIMULATE = ["simulate", "new", "--train", "6", "--test", "2"]


def test_a_command_dies_before_the_chosen_file_operation(tmp_path: Path):
    warm_up()
    counter = tmp_path / "events"
    (tmp_path / "whole").mkdir()
    ended = call(lambda: kills._run(SIMULATE, tmp_path / "whole", counter=counter), tmp_path / "whole")
    assert ended.code == 0
    operations = counter.stat().st_size
    assert operations > 8  # two battle files and two of true probabilities are created and renamed
    for at in (1, operations // 2):
        folder = tmp_path / f"killed-{at}"
        folder.mkdir()
        assert call(lambda at=at, folder=folder: kills._run(SIMULATE, folder, at, "kill"), folder).code == -9
        assert kills._differences(tmp_path / "whole", folder, "simulate")
        assert call(lambda folder=folder: kills._run(SIMULATE, folder), folder).code == 0
        assert kills._differences(tmp_path / "whole", folder, "simulate") == []


def test_a_file_that_is_written_in_place_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The planted writer takes a file that exists for a complete one, as a program that resumes would."""

    @contextmanager
    def in_place(target: Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        yield target.with_name("scratch") if target.exists() else target
        target.with_name("scratch").unlink(missing_ok=True)

    monkeypatch.setattr(simulation, "atomic_path", in_place)
    monkeypatch.setattr(simulate, "_is_simulated", lambda *_: True)
    whole = tmp_path / "whole"
    whole.mkdir()
    assert call(lambda: kills._run(SIMULATE, whole), whole).code == 0
    noticed = []
    for at in range(1, 6):
        folder = tmp_path / f"killed-{at}"
        folder.mkdir()
        assert call(lambda at=at, folder=folder: kills._run(SIMULATE, folder, at, "kill"), folder).code == -9
        assert call(lambda folder=folder: kills._run(SIMULATE, folder), folder).code == 0
        noticed += kills._differences(whole, folder, "simulate")
    assert {fault.partition(":")[0] for fault in noticed} == {"differs"}


def test_every_command_is_among_the_cases_of_a_whole_campaign():
    planned = [kills._plan(1, index) for index in range(kills.COUNT)]
    assert {name for name, _, _ in planned} == set(kills.COMMANDS)
    assert {kind for _, _, kind in planned} == {"kill", "interrupt", "alarm"}
    assert sum(len(shares) for _, shares, _ in planned) >= 300


@pytest.mark.slow
def test_the_short_campaign_holds(tmp_path: Path):
    classes = [
        "battle_files",
        "settings",
        "run_folders",
        "planted",
        "kills",
        "machine",
    ]  # pages have tests of their own
    command = ["-m", "benchmarks.reliability", "--short", "--classes", ",".join(classes)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, *command, "--json", tmp_path / "found.json"],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert {name: result["held"] for name, result in found.items()} == {name: SHORT[name] for name in classes}
