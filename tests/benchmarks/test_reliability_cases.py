"""The campaign notices what it looks for: tracebacks, hangs, wrong predictions, planted code, hostile text."""

import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reliability import hostile_text, judged, planted, run_folders, settings
from benchmarks.reliability.commands import Ended, call

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def ended(**changed: object) -> Ended:
    values = {
        "code": 0,
        "out": "",
        "err": "",
        "seconds": 1.0,
        "peak_mb": 100.0,
        "interrupted": False,
        "hung": False,
    }
    return Ended(**(values | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"code": 1},
        {"code": -11},
        {"code": 2},
        {"code": 2, "err": "Error: " + "x" * 9_000},
        {"code": 2, "err": "Traceback (most recent call last):\nKeyError: 1"},
        {"out": "a\x1b[31mb"},
        {"out": "a\u202eb"},
        {"hung": True, "code": -9},
        {"interrupted": True, "code": 130},
        {"peak_mb": 9_000.0},
    ],
)
def test_a_bad_end_is_a_fault(changed: dict[str, object]):
    assert judged.faults_of(ended(**changed))


def test_a_message_and_a_success_are_no_faults():
    assert judged.faults_of(ended(out="Written: o.csv\n\ttab")) == []
    assert judged.faults_of(ended(code=2, err="Error: no such file.")) == []
    assert judged.faults_of(ended(code=130, interrupted=True), may_be_long=True) == []


def test_a_call_in_a_fork_tells_its_end_its_output_and_its_memory(tmp_path: Path):
    def body() -> None:
        sys.stdout.write("out\n")
        sys.stderr.write("err\n")
        assert Path.cwd() == tmp_path
        assert os.environ["GIVEN"] == "x"
        assert "HOME" not in os.environ
        sys.exit(3)

    found = call(body, tmp_path, {"GIVEN": "x", "HOME": None})
    assert (found.code, found.out, found.err, found.hung) == (3, "out\n", "err\n", False)


def test_a_call_that_raises_or_crashes_is_told(tmp_path: Path):
    assert "ZeroDivisionError" in call(lambda: 1 / 0, tmp_path).err
    assert call(lambda: os.kill(os.getpid(), signal.SIGKILL), tmp_path).code == -9
    assert call(lambda: sys.stderr.write(str(sys.stdout)), tmp_path, closed=(1,)).err == "None"


def test_a_call_that_takes_too_long_is_interrupted(tmp_path: Path):
    found = call(lambda: time.sleep(30), tmp_path, seconds=0.2)
    assert found.interrupted
    assert not found.hung
    assert found.seconds < 10


# --- Settings


def test_a_run_that_used_another_value_than_the_given_one_is_noticed(tmp_path: Path):
    folder = tmp_path / "runs" / "mine+penalty=2"
    folder.mkdir(parents=True)
    record = {"experiment": {"model": {"name": "structure", "penalty": 2.0, "trees": {"leaves": 4}}}}
    (folder / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
    assert settings._faults_of_value("penalty", "2", tmp_path) == []
    assert settings._faults_of_value("penalty", "3", tmp_path)
    assert settings._faults_of_value("trees.leaves", "true", tmp_path)


def test_success_without_output_or_with_invalid_predictions_is_noticed(tmp_path: Path):
    command = settings.Command(["predict", "--out", "out.csv"])
    assert len(settings._faults_of_success(command, ended(), tmp_path)) == 2
    (tmp_path / "out.csv").write_text("id,winner_model_a,winner_model_b,winner_tie\n1,.1,.1,.1\n", encoding="utf-8")
    assert settings._faults_of_success(command, ended(out="Written"), tmp_path) == ["out.csv: not probabilities"]


def test_commands_of_a_seed_are_the_same_and_of_all_kinds():
    made = [settings.command_of(1, index) for index in range(80)]
    assert made == [settings.command_of(1, index) for index in range(80)]
    assert {each.arguments[0] for each in made} >= {"run", "predict"}
    assert any(each.environment for each in made)
    assert any(each.closed for each in made)


# --- Run folders


def test_every_kind_of_damage_changes_a_file(tmp_path: Path):
    for fold in ("fold0", "fold1"):
        (tmp_path / fold).mkdir()
    for name, damage in run_folders.KINDS.items():
        file = tmp_path / "fold0" / "a.json"
        file.unlink(missing_ok=True) if not file.is_dir() else file.rmdir()
        for fold in (0, 1):
            (tmp_path / f"fold{fold}" / "a.json").write_text(json.dumps({"a": fold, "b": [1]}), encoding="utf-8")
        (tmp_path / "fold0" / "b.json").write_text("{}", encoding="utf-8")
        before = file.read_bytes()
        for seed in range(9):  # a random kind may choose the file itself
            if file.is_file() and not file.is_symlink() and file.read_bytes() == before:
                damage(file, np.random.default_rng(seed))
        assert file.is_symlink() or not file.is_file() or file.read_bytes() != before, name


def test_other_predictions_of_a_damaged_run_are_noticed(tmp_path: Path):
    shared, folder = tmp_path / "shared", tmp_path / "case"
    shared.mkdir()
    folder.mkdir()
    (shared / "good-prior.csv").write_text("good", encoding="utf-8")

    def predict(text: str, code: int = 0):
        def do(*_: str):
            if not code:
                (folder / "out.csv").write_text(text, encoding="utf-8")
            return ended(code=code, err="Error: x" * bool(code)), []

        return run_folders._faults_of_prediction(do, "prior", shared, folder, must=code == 9)

    assert predict("good") == []
    assert predict("other") == ["predict: other predictions than before the damage"]
    assert predict("", code=2) == []
    assert predict("", code=9)


# --- Planted code


def test_the_planted_action_works_and_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def harmless(folder: Path) -> planted.Commands:
        return []

    def runs(folder: Path) -> planted.Commands:
        monkeypatch.chdir(folder)
        pickle.loads(planted.PICKLE)  # noqa: S301
        return []

    def leaves(folder: Path) -> planted.Commands:
        return [["leave"]]

    def write_outside(arguments: list[str], folder: Path, seconds: float) -> Ended:
        (planted._outside(folder) / "x").write_bytes(b"")
        return ended()

    monkeypatch.setattr(planted, "CASES", (harmless, runs, leaves))
    monkeypatch.setattr(planted, "run_command", write_outside)
    for name in ("runs", "experiments"):
        (tmp_path / "shared" / name).mkdir(parents=True)
    found = []
    for index in range(3):
        (tmp_path / f"case{index}").mkdir()
        found.append(planted.check(tmp_path / "shared", tmp_path / f"case{index}", 0, index))
    assert found[0] == []
    assert "planted code ran" in found[1][0]
    assert found[2][-1] == "files outside of the folder were changed"


# --- Hostile text


@pytest.mark.parametrize(
    "html",
    [
        "<p onclick='x'>",
        "<iframe srcdoc=x>",
        "<a href='javascript:x'>",
        "<img src='http://127.0.0.1/x'>",
        "<link rel=stylesheet>",
        "<p>49 of {{7*7}}: 7*7</p>",
    ],
)
def test_hostile_text_that_became_markup_is_noticed(html: str):
    assert hostile_text.faults_of_source(f"<main>{html}</main>")
    assert hostile_text.faults_of_source("<main><a href='#x'>{{ 7*7 }} 49 &lt;script&gt;</a></main>") == []


@pytest.mark.slow
def test_what_a_page_runs_and_requests_is_noticed(tmp_path: Path):
    if not hostile_text.has_browser():
        pytest.skip("no chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)")
    bad, good = tmp_path / "bad.html", tmp_path / "good.html"
    bad.write_text(
        "<main><p>x</p></main><img src='http://127.0.0.1:9/x' onerror='window.hacked=1'>", encoding="utf-8"
    )
    good.write_text("<!doctype html><title>x</title><main><p>x</p></main>", encoding="utf-8")
    with hostile_text.open_browser() as browser:
        assert hostile_text.faults_in_browser(browser, good) == []
        time.sleep(0.2)
        faults = hostile_text.faults_in_browser(browser, bad)
    assert any("request" in fault for fault in faults)
