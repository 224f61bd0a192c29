"""`curve`: the runs that it plans, what it refuses, what it writes, and that it resumes."""

import json
import signal
import time
from pathlib import Path

import pytest

from pairrank.cli.curve import ALL, Essential, _sizes, split_sizes
from pairrank.data.simulation import write_arena
from pairrank.errors import UserError
from pairrank.evaluation.run_record import run_folders
from tests.support.command_line import refused, start_python
from tests.support.runs import complaint

SMALL = ("--sizes", "8,16,24,all", "--repeats", "2", "--data", "data")


def test_sizes_double_up_to_the_whole_training_part():
    assert _sizes([], 1_249) == [200, 400, 800, 0]
    assert _sizes([], 1_600) == [200, 400, 800, 0]
    assert _sizes([], 150) == [0]
    assert _sizes(["400", ALL, "10", "400"], 500) == [10, 400, 0]
    assert _sizes(["10"], 500) == [10]


def test_all_sizes_that_are_too_large_are_refused_in_one_message():
    message = complaint(lambda: _sizes(["100", "2000", "1249"], 1_249))
    assert "1,249, 2,000" in message
    assert "1,249 battles" in message
    assert "100," not in message
    for wrong in ("-5", "0", "x", "1.5"):
        with pytest.raises(UserError, match="expected numbers"):
            _sizes([wrong], 500)


@pytest.mark.parametrize(
    ("names", "sizes", "experiments", "numbers"),
    [
        (["a", "b"], [], ["a", "b"], []),
        (["a", "b"], ["200,400"], ["a", "b"], ["200", "400"]),
        (["a", "400", "all"], ["200"], ["a"], ["200", "400", "all"]),
        (["a", "400,800"], ["200,"], ["a"], ["200", "400", "800"]),
        (["all"], [], ["all"], []),
    ],
)
def test_sizes_are_separated_by_commas_or_spaces(names, sizes, experiments, numbers):
    assert split_sizes(names, sizes) == (experiments, numbers)


def test_a_warning_of_many_runs_is_shown_once():
    import logging

    def record(text, level=logging.WARNING, name="pairrank.runs"):
        return logging.LogRecord(name, level, "", 0, text, None, None)

    essential = Essential()
    assert essential(record("a+train_size=8: uneven"))
    assert not essential(record("a+train_size=16: uneven"))
    assert essential(record("a: other"))
    assert not essential(record("a: training", logging.INFO))
    assert essential(record("a: 2 of 5 done", logging.INFO, "pairrank.progress"))


def test_curve_refuses_before_any_work(call, here):
    assert refused(call("curve", "prior", "--sizes", "9,900,1000", "--data", "data"), "900, 1,000", "--sizes")
    assert refused(call("curve", "prior", "--fold", "7", "--data", "data"), "--fold 7")
    assert refused(call("curve", "prior", "--reference", "nobody", "--data", "data"), "nobody")
    assert refused(call("curve", "8", "--sizes", "4"), "no experiment is named")
    assert not Path("runs").exists()


def test_a_dry_run_counts_the_runs_and_writes_nothing(call, here):
    ended = call("curve", "prior", *SMALL, "--dry-run")
    assert ended.code == 0, ended.err
    assert "7 runs" in ended.out  # three sizes twice, and the whole training part
    assert "35 folds" in ended.out
    assert not Path("runs").exists()


@pytest.mark.slow
def test_curve_runs_every_size_once_and_writes_table_page_and_json(call, here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    write_arena(here / "arena", 120, 0, seed=0)
    command = ("curve", "prior", "lengths", "--sizes", "20", "40", "60", "all", "--repeats", "2", "--data", "arena")
    ended = call(*command, "--publish", "out")
    assert ended.code == 0, ended.err
    table = [line for line in ended.out.splitlines() if line[:1] in "┃│┏┡└"]
    assert len(table) == 3 + 2 * 5 + 1
    assert max(map(len, table)) <= 80
    assert {"prior", "lengths"} < set(run_folders(Path("runs/arena")))
    assert len(run_folders(Path("runs/arena"))) == 14
    curves = json.loads(Path("runs/arena/curves.json").read_text())
    assert [curve["label"] for curve in curves["curves"]] == ["prior", "lengths"]
    assert curves["floor"] is not None
    assert all(point["skill"] is not None for curve in curves["curves"] for point in curve["points"])
    page = Path("runs/arena/curves.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "://" not in page.replace("http://www.w3.org", "")
    assert {file.suffix for file in Path("out").iterdir()} == {".md", ".svg", ".json"}
    again = call(*command)
    assert "all are finished" in again.out
    compared = call("compare", "--data", "arena")
    assert "12 runs on subsets" in compared.out
    assert "train_size" not in Path("runs/arena/LEADERBOARD.md").read_text()
    assert call("report", "--data", "arena", "--out", "report.html").code == 0
    assert "Log loss by the number of training battles" in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_killed_curve_continues_and_ends_like_an_undisturbed_one(call, here):
    def arguments(runs: str) -> tuple[str, ...]:
        return ("curve", "prior", "lengths", *SMALL, "--runs", runs)

    process = start_python("-m", "pairrank", *arguments("killed"))
    try:
        begun = time.monotonic()
        # Some runs are finished, and others are not begun.
        while len(run_folders(Path("killed"))) < 4 and process.poll() is None and time.monotonic() - begun < 100:
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 0 < len(run_folders(Path("killed"))) < 14
    assert call(*arguments("killed")).code == 0
    assert call(*arguments("whole")).code == 0
    assert Path("killed/curves.json").read_text() == Path("whole/curves.json").read_text()
