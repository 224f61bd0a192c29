"""`enter`, `export` and `diff` on the command line, and what other commands show of an entry."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.predictions import Predictions
from pairrank.data.writing import write_battles
from tests.support.battles import tiny_battles
from tests.support.command_line import refused

ABOUT = ("--about", "A judge")


@pytest.fixture
def judge(call, run_once):
    """A run of the prior, and an entry."""
    run_once("prior")
    Predictions(tiny_battles().id, np.random.default_rng(0).dirichlet([3, 3, 2], 40)).write(Path("oof.csv"))
    ended = call("enter", "oof.csv", "--name", "judge", *ABOUT, "--data", "data")
    assert ended.code == 0, ended.err
    return Path("runs/data/entries/judge")


def test_compare_and_report_mark_an_entry(call, judge, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = call("compare", "--data", "data").out
    assert "judge ‡" in shown
    assert "judge: made elsewhere. A judge. Training data: not declared." in " ".join(shown.split())
    assert "| judge | 1–2 |" not in Path("runs/data/LEADERBOARD.md").read_text(encoding="utf-8")
    assert "| judge | undeclared data |" in Path("runs/data/LEADERBOARD.md").read_text(encoding="utf-8")
    assert call("report", "--data", "data", "--out", "r.html").code == 0
    page = Path("r.html").read_text(encoding="utf-8")
    assert "judge: an entry that was made elsewhere" in page
    assert "not declared" in page


def test_the_published_board_is_rebuilt_from_its_files_alone(call, judge):
    assert call("compare", "--data", "data", "--publish", "site").code == 0
    board = {name: (Path("site") / name).read_bytes() for name in ("LEADERBOARD.md", "leaderboard.json")}
    assert b"judge" in board["LEADERBOARD.md"]
    shutil.rmtree("runs")
    assert call("compare", "--data", "data", "--publish", "site").code == 0
    assert {name: (Path("site") / name).read_bytes() for name in board} == board


def test_a_damaged_entry_is_left_out_and_named(call, judge):
    (judge / "predictions.csv").write_text((judge / "predictions.csv").read_text().replace("0.", "0.0", 1))
    ended = call("compare", "--data", "data")
    assert ended.code == 0
    assert "Left out: runs/data/entries/judge" in ended.out
    assert "SHA-256" in ended.out or "sum to" in ended.out


def test_rm_removes_an_entry_and_nothing_else(call, judge):
    assert refused(call("rm", "entries", "--data", "data", "--yes"), "no run of this name")
    assert call("rm", "judge", "--data", "data", "--yes").code == 0
    assert not judge.exists()
    assert Path("runs/data/prior/metrics.json").is_file()
    assert refused(call("rm", "judge", "--data", "data", "--yes"), "no run of this name")


def test_enter_refuses_the_name_of_an_entry_and_of_added_files(call, judge):
    assert refused(call("enter", "oof.csv", "--name", "judge", *ABOUT, "--data", "data"), "name of an entry", "rm")
    assert refused(call("compare", "--data", "data", "--add", "judge=oof.csv"), "name of an entry")


def test_a_run_cannot_have_the_name_of_the_folder_of_entries(call, here):
    Path("experiments").mkdir()
    Path("experiments/entries.toml").write_text('[model]\nname = "prior"\n')
    assert refused(call("run", "entries", "--data", "data"), "Rename the experiment")


def test_export_writes_lines(call, judge):
    assert call("export", "e.jsonl", "--data", "data").code == 0
    lines = Path("e.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(json.loads(lines[0])["predictions"]) == {"prior", "judge"}
    assert call("export", "out", "judge", "--data", "data", "--form", "every-eval-ever").code == 0
    assert len(list(Path("out/data/unknown/judge").glob("*.json"))) == 1


def test_diff_fits_eighty_columns_and_escapes_texts(call, here, monkeypatch):
    battles = tiny_battles(40)
    battles.prompt[0] = ("\x1b[31mred\u202e [bold]x[/bold]" + "long " * 50,)
    write_battles(battles, Path("data/train.csv"))
    assert call("run", "prior", "--data", "data").code == 0
    proba = np.full((40, 3), 0.3) + np.eye(3)[(battles.labels + (np.arange(40) == 0)) % 3] * 0.1
    Predictions(battles.id, proba).write(Path("oof.csv"))
    assert call("enter", "oof.csv", "--name", "judge", *ABOUT, "--data", "data").code == 0
    monkeypatch.setenv("COLUMNS", "80")
    ended = call("diff", "prior", "judge", "--data", "data", "--out", "d.html")
    assert ended.code == 0, ended.err
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "\x1b[31m" not in ended.out
    assert "\u202e" not in ended.out
    assert "[bold]" in ended.out
    assert "id 1000, A wins" in ended.out
    assert "judge is better than prior" in " ".join(ended.out.split())
    assert "From prior to judge" in Path("d.html").read_text(encoding="utf-8")


def test_diff_needs_two_names_or_one_and_before(call, judge):
    assert call("diff", "prior", "--data", "data").code == 2
    assert call("diff", "prior", "judge", "--before", "--data", "data").code == 2
    assert refused(call("diff", "prior", "--before", "--data", "data"), "no former results")
