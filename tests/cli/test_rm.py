"""`rm` removes what is named and nothing else; `list --all` and `compare --history` show former results."""

from pathlib import Path

import pytest

from tests.support.command_line import refused, run_python


@pytest.fixture
def two(run_once, here):
    """A run of prior and its former results, whose experiment had another setting."""
    mine = Path("experiments/mine.toml")
    mine.parent.mkdir(exist_ok=True)
    for smoothing in (1.0, 50.0):
        mine.write_text(f'[model]\nname = "prior"\nsmoothing = {smoothing}')
        run_once("mine")
    return Path("runs/data")


def test_former_results_are_listed_and_compared(call, two):
    name = f"mine~{next((two / 'history' / 'mine').iterdir()).name}"
    assert "list --all" in call("list", "--data", "data").out
    assert name in call("list", "--all", "--data", "data").out
    assert name not in call("compare", "--data", "data").out
    before = (two / "LEADERBOARD.md").read_bytes()
    assert name in call("compare", "--history", "--data", "data", "--reference", "mine").out
    assert (two / "LEADERBOARD.md").read_bytes() == before


def test_rm_removes_what_is_named_and_nothing_else(call, two, monkeypatch):
    former = next((two / "history" / "mine").iterdir())
    assert call("rm", f"mine~{former.name}", "--data", "data", "--yes").code == 0
    assert not former.exists()
    assert sorted(path.name for path in two.iterdir() if path.is_dir()) == ["history", "mine", "prior"]
    assert call("rm", "mine", "--data", "data", "--yes").code == 0
    assert sorted(path.name for path in two.iterdir() if path.is_dir()) == ["history", "prior"]


@pytest.mark.parametrize("name", ["..", "../data", "history", "nonsense", "prior/../.."])
def test_rm_refuses_what_is_no_run_before_it_removes_anything(call, two, name):
    assert refused(call("rm", "mine", name, "--data", "data", "--yes"), "no run of this name")
    assert (two / "mine" / "metrics.json").is_file()


def test_a_read_only_folder_of_runs_shows_the_table(call, two, monkeypatch):
    from pairrank.cli import compare

    def denied(*_):
        raise PermissionError(13, "Permission denied", "LEADERBOARD.md")

    monkeypatch.setattr(compare, "write_board", denied)
    ended = call("compare", "--data", "data")
    assert ended.code == 0
    assert "mine" in ended.out
    assert "could not be written here (Permission denied)" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["", None])
def test_rm_without_an_answer_removes_nothing_and_names_the_option(call, two, answer):
    code = "from pairrank.cli.app import main; main()"
    if answer is None:
        code = f"import os, sys; os.close(0); sys.stdin = None; {code}"
    ended = run_python("-c", code, "rm", "mine", "--data", "data", input=answer or "")
    assert ended.returncode == 2
    assert "nothing was removed" in ended.stderr
    assert "--yes" in ended.stderr
    assert "bug" not in ended.stderr
    assert (two / "mine" / "metrics.json").is_file()


def test_a_warning_of_the_sample_depends_on_the_battles_that_a_run_has_learned_from(call, here):
    assert call("run", "prior", "--data", "data", "--runs", "runs/sample").code == 0
    ended = call("predict", "prior", "data/test.csv", "--out", "o.csv")  # without --data, but not of the sample
    assert ended.code == 0
    assert "SIMULATED" not in ended.err


def test_predictions_with_the_sample_are_loud(call, here):
    assert call("run", "prior").code == 0
    assert "THIS SUBMISSION IS FOR THE SIMULATED SAMPLE" in call("submit", "prior").err
    ended = call("predict", "prior", "data/test.csv", "--out", "o.csv")
    assert "LEARNED FROM THE SIMULATED SAMPLE" in ended.err
    assert ended.code == 0
