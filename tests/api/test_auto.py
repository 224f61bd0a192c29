"""`auto` leads from battles to a submission; a crash changes no result."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pairrank
from pairrank.api.automation import training
from pairrank.data.writing import write_battles
from pairrank.encoders import catalogue
from pairrank.errors import UserError
from tests.support.battles import tiny_battles

MINUTES = 1000
"""More than tiny battles need on the slowest machine."""
QUICK = ["prior", "lengths", "structure", "kernel"]


def quick(data="data", **options) -> pairrank.AutoResult:
    return pairrank.auto(data, **{"minutes": MINUTES, "preset": "quick"} | options)


def out_of_fold(home: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in sorted(home.glob("*/oof.csv"))}


@pytest.mark.slow
def test_from_battles_to_a_submission_and_reuse_after_a_crash(here, monkeypatch):
    result = quick()
    home = Path("runs/data")
    assert result.runs == home
    assert [each.status for each in result.plan] == ["finished"] * 4
    assert set(out_of_fold(home)) == {*QUICK, "auto-pool"}
    assert result.label == "auto-pool"
    assert {row.label for row in result.board.rows} == {*QUICK, "auto-pool"}
    for file in (result.report, result.submission, result.model_card, home / "LEADERBOARD.md"):
        assert file.is_file()
    # The submission is the pool's, for exactly the test battles.
    test = pairrank.read_battles("data/test.csv")
    submission = pairrank.read_predictions(result.submission)
    assert submission.id.tolist() == test.id.tolist()
    assert result.submission.read_bytes() == (home / "auto-pool" / "test.csv").read_bytes()
    # No weight of the pool was fitted, so nothing of the scored winners is in it.
    pool = json.loads((home / "auto-pool" / "fold0" / "pool.json").read_text())
    assert (pool["inputs"], pool["weights"]) == (["structure", "kernel"], [0.5, 0.5])
    assert len(result.summary) == 3
    assert "auto-pool" in result.summary[1]
    assert "--preset good" in result.summary[2]
    assert "auto-pool" in result._repr_html_()

    # Killed in the fourth fold of structure, and started again: only what was missing is trained.
    expected = out_of_fold(home)
    for gone in ("structure/fold3", "structure/fold4", "kernel", "auto-pool"):
        shutil.rmtree(home / gone)
    (home / "structure" / "metrics.json").unlink()
    made = []
    make_fold = training.make_fold

    def recorded(run, fold: int) -> None:
        made.append((run.experiment.name, fold))
        make_fold(run, fold)

    monkeypatch.setattr(training, "make_fold", recorded)
    assert quick().label == "auto-pool"
    assert made == [("structure", 3), ("structure", 4), *(("kernel", fold) for fold in range(5))]
    assert out_of_fold(home) == expected


@pytest.mark.slow
def test_a_single_file_with_a_hostile_name_and_one_sided_winners(call, here):
    battles = tiny_battles()
    name = "[red]$(touch x); <i>q"
    write_battles(replace(battles, winner=np.zeros(len(battles), dtype=np.int64)), Path(f"{name}.csv"))
    ended = call("auto", "--data", f"{name}.csv", "--minutes", MINUTES, "--preset", "quick")
    assert ended.code == 0, ended.err
    home = Path("runs") / name
    assert "&lt;i&gt;q" in (home / "report.html").read_text()
    assert "<i>q" not in (home / "report.html").read_text()
    assert not Path("x").exists()
    assert "ALL 40 BATTLES HAVE THE SAME WINNER, A" in ended.out
    assert "There are no test battles" in ended.out
    assert not (home / "submission.csv").exists()
    assert "Use auto-pool for predictions" in ended.out


def test_a_dry_run_shows_the_plan_and_writes_nothing(call, here):
    ended = call("auto", "--data", "data", "--minutes", MINUTES, "--preset", "quick", "--dry-run")
    assert ended.code == 0, ended.err
    assert [name for name in QUICK if name in ended.out] == QUICK
    assert "Nothing was trained" in ended.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minutes": 0}, "minutes: found 0"),
        ({"minutes": float("nan")}, "minutes: found nan"),
        ({"minutes": True}, "minutes: found True"),
        ({"minutes": 0.01}, r"--minutes 0.01: too short .* Use --minutes \d+ or more"),
        ({"preset": "god"}, "Did you mean 'good'"),
        ({"data": "nowhere"}, "no such folder"),
    ],
)
def test_mistakes_are_user_errors(here, options, words: str):
    with pytest.raises(UserError, match=words):
        quick(**options)
    assert not Path("runs").exists()


def test_a_missing_encoder_leaves_the_rest_of_the_plan(here, monkeypatch):
    def missing(names):
        raise UserError("no requested encoder is available")

    monkeypatch.setattr(catalogue, "find_encoder", missing)
    plan = quick(preset="good", dry_run=True).plan
    assert [each.status for each in plan] == ["planned"] * 5 + ["unavailable"] * 2
    assert "no requested encoder" in plan[-1].why
