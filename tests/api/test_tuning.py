"""`tune` is the command of this name."""

import json
from pathlib import Path

import pytest

import pairrank
from pairrank.data.simulation import write_arena
from pairrank.errors import UserError
from tests.support.studies import write_experiment

pytestmark = pytest.mark.slow


def record_of(folder: str) -> dict:
    """The record of the search without times."""
    record = json.loads(Path(folder, "small+tuning", "fold4", "tuning.json").read_text())
    for trial in record["trials"]:
        del trial["seconds"]
    return record


def test_a_search_is_that_of_the_command(call, here):
    write_arena(Path("arena"), 200, 30, seed=0)
    write_experiment("small")
    arguments = ("--data", "arena", "--trials", "4", "--pruner", "none", "--seed", "1", "--runs", "theirs")
    ended = call("tune", "small", *arguments)
    assert ended.code == 0, ended.err
    result = pairrank.tune("small", "arena", trials=4, pruner="none", seed=1, runs="mine")
    assert isinstance(result, pairrank.Tuning)
    assert record_of("mine") == record_of("theirs")
    assert result.record == Path("mine/small+tuning/fold4/tuning.json")
    frame = result.to_dataframe()
    assert frame["log_loss"].tolist() == [trial["log_loss"] for trial in record_of("mine")["trials"]]
    assert {"penalty", "clip"} <= set(frame.columns)
    assert result.best.keys() <= {"penalty", "clip"}
    assert (result.file is not None) == result.verdict.is_accepted
    assert "penalty" in result._repr_html_()
    with pytest.raises(UserError, match="small has the folds 0 to 4"):
        pairrank.tune("small", "arena", folds=[9])


def test_every_fold_may_have_a_search_of_its_own(here):
    write_arena(Path("arena"), 200, 30, seed=0)
    write_experiment("small")
    result = pairrank.tune("small", pairrank.read_battles("arena/train.csv"), trials=2, nested=True, pruner="none")
    assert isinstance(result, pairrank.NestedTuning)
    assert result.trials == dict.fromkeys(range(5), 2)
    assert result.difference.mean == pytest.approx(result.log_loss - result.own_log_loss)
    assert result.run.experiment.label == "small+tuned=nested"
    assert "small+tuned=nested" in result._repr_html_()
