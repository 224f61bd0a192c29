"""One foreign, damaged, older or newer record among the runs never stops a command about the others."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.predictions import read_predictions
from pairrank.evaluation.run_record import VERSION
from tests.support.battles import tiny_battles
from tests.support.command_line import refused
from tests.support.runs import remove_keys, write_experiment

pytestmark = pytest.mark.slow

RECORD = Path("runs/data/smooth/metrics.json")
SPLIT_IN_WORDS = {"folds": 5, "limit": "all"}
FOREIGN = {
    "experiment without settings": lambda values: values | {"experiment": {}},
    "split without folds": lambda values: values | {"experiment": values["experiment"] | {"split": {}}},
    "limit in words": lambda values: values | {"experiment": values["experiment"] | {"split": SPLIT_IN_WORDS}},
    "no data": lambda values: {key: value for key, value in values.items() if key != "data"},
    "wrong types": lambda values: values | {"folds": "all", "log_loss": "good", "inputs": 3},
    "another program's": lambda values: {"accuracy": 0.5},
    "not an object": lambda values: [1, 2],
    "newer version": lambda values: {"version": VERSION + 1, "content": "unknown"},
}


@pytest.fixture
def runs(here: Path, run_once: Callable[..., None]) -> Path:
    """The finished runs of two priors, of which a test changes the record of one, `smooth`."""
    write_experiment(here, "smooth", '[model]\nname = "prior"\nsmoothing = 9')
    run_once("prior", "smooth")
    return here / "runs" / "data"


def rows_of_board(runs: Path) -> dict[str, float]:
    """Return the log loss of each run in the leaderboard that was written last."""
    rows = json.loads((runs / "leaderboard.json").read_text())["rows"]
    return {row["label"]: row["log_loss"] for row in rows}


def expected_loss(run: Path) -> float:
    """Return the log loss of a run's out-of-fold predictions on the tiny battles."""
    battles, predictions = tiny_battles(), read_predictions(run / "oof.csv")
    assert predictions.id.tolist() == battles.id.tolist()
    return float(-np.log(predictions.proba[np.arange(40), battles.labels]).mean())


SLOW_CONTENTS = [pytest.param(name, marks=pytest.mark.slow) for name in [*FOREIGN, "empty", "bytes"][1:]]


@pytest.mark.parametrize("content", [next(iter(FOREIGN)), "damaged", *SLOW_CONTENTS])
def test_commands_about_other_runs_work_and_name_the_record_they_leave_out(runs, call, content):
    if content in FOREIGN:
        RECORD.write_text(json.dumps(FOREIGN[content](json.loads(RECORD.read_text()))))
    else:
        RECORD.write_bytes({"damaged": RECORD.read_bytes()[:99], "empty": b"", "bytes": b"\xff\0\xfe"}[content])
    kept = RECORD.read_bytes()
    for command in (["run", "prior"], ["compare"], ["list"], ["report"]):
        ended = call(*command, "--data", "data")
        assert ended.code == 0, (command, ended.out, ended.err)
        # Long lines may be wrapped anywhere.
        printed = re.sub(r"\s", "", ended.out + ended.err)
        assert f"Leftout:{RECORD}" in printed, command
        assert "prior" in (Path("report.html").read_text() if command == ["report"] else printed)
        if command != ["list"]:
            assert rows_of_board(runs) == {"prior": pytest.approx(expected_loss(runs / "prior"))}
    assert RECORD.read_bytes() == kept


def test_a_foreign_record_is_replaced_when_its_own_experiment_is_run(runs, call):
    RECORD.write_text("{}")
    assert call("run", "smooth", "--data", "data").code == 0
    assert rows_of_board(runs).keys() == {"prior", "smooth"}


def test_an_older_record_is_compared_like_any_other(runs, call):
    for file in (RECORD, *runs.glob("smooth/fold*/fold.json")):
        remove_keys(file, "version", "flip_rate", "extra", "inputs", "alone")
    values = json.loads(RECORD.read_text())
    old = {"name", "about", "submittable", "soft_targets", "model", "split"}
    values["experiment"] = {key: value for key, value in values["experiment"].items() if key in old}
    del values["experiment"]["split"]["nested"]
    RECORD.write_text(json.dumps(values))
    ended = call("compare", "--data", "data")
    assert ended.code == 0, ended.err
    assert "Left out" not in ended.out + ended.err
    expected = {name: pytest.approx(expected_loss(runs / name)) for name in ("prior", "smooth")}
    assert rows_of_board(runs) == expected
    assert call("run", "smooth", "--data", "data").code == 0
    assert rows_of_board(runs) == expected


def test_a_fold_of_a_newer_version_stops_only_its_own_run(runs, call):
    fold = runs / "smooth" / "fold2" / "fold.json"
    fold.write_text(json.dumps({"version": 99}))
    assert refused(call("run", "smooth", "--data", "data"), str(fold.relative_to(Path.cwd())), "newer pairrank")
    assert json.loads(fold.read_text()) == {"version": 99}
    for command in (["run", "prior"], ["compare"], ["list"], ["report"]):
        ended = call(*command, "--data", "data")
        assert ended.code == 0, (command, ended.out, ended.err)


def test_a_record_of_a_newer_version_is_not_overwritten_by_its_own_run(runs, call):
    RECORD.write_text(json.dumps({"version": VERSION + 1}))
    assert refused(call("run", "smooth", "--data", "data"), str(RECORD), "newer pairrank")
    assert json.loads(RECORD.read_text()) == {"version": VERSION + 1}


def test_a_fold_of_a_newer_version_in_the_reference_stops_no_other_run(runs, call):
    (runs / "prior" / "fold0" / "fold.json").write_text(json.dumps({"version": 99}))
    ended = call("run", "smooth", "--data", "data")
    assert ended.code == 0, ended.err
    assert "Left out: runs/data/prior/fold0/fold.json" in re.sub(r"\s+", " ", ended.out).replace("\\", "/")


def test_battles_that_cannot_be_read_are_one_message(here, call):
    (here / "data" / "train.csv").write_text("id,prompt\n1,x\n")
    write_experiment(here, "smooth", '[model]\nname = "prior"\nsmoothing = 9')
    ended = call("run", "smooth", "--data", "data")
    assert refused(ended, "missing column")
    assert (ended.out + ended.err).count("missing column 'response_a'") == 1
