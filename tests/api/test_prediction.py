"""`submit`, `predict` and `predict_file` are the commands of these names."""

from pathlib import Path

import pytest

import pairrank
from pairrank.data.frames import to_dataframe
from pairrank.errors import UserError


@pytest.fixture
def result(cross_validated):
    [result] = cross_validated("lengths")
    return result


def test_a_submission_is_that_of_the_command(result, call):
    assert call("submit", "lengths", "--data", "data", "--out", "theirs.csv").code == 0
    for run, data in (("lengths", "data"), (result, None)):
        written = pairrank.submit(run, data, "mine.csv")
        assert Path("mine.csv").read_bytes() == Path("theirs.csv").read_bytes()
        assert written.id.tolist() == pairrank.read_battles("data/test.csv").id.tolist()


def test_predictions_are_those_of_the_command(result, call):
    ended = call(
        "predict", "lengths", "data/test.csv", "--data", "data", "--out", "theirs.csv", "--copy", "language"
    )
    assert ended.code == 0, ended.err
    done = pairrank.predict_file(result, "data/test.csv", "mine.csv", copy=["language"])
    assert Path("mine.csv").read_bytes() == Path("theirs.csv").read_bytes()
    test = pairrank.read_battles("data/test.csv")
    assert (done.path, done.battles, done.repairs) == (Path("mine.csv"), len(test), 0)
    for battles in ("data/test.csv", test, to_dataframe(test)):
        pairrank.predict(result, battles).write(Path("memory.csv"))
        expected = [line.rsplit(",", 1)[0] for line in Path("mine.csv").read_text().splitlines()]
        assert Path("memory.csv").read_text().splitlines() == expected


def test_repairs_are_logged_in_python_and_errors_of_the_command_line(result, call, log_lines):
    damaged = 'id,prompt,response_a,response_b\n1,"[""p""]","{","[""b""]"\n'
    Path("new.csv").write_text(damaged)
    assert pairrank.predict_file(result, "new.csv", "out.csv").repairs == 1
    assert any(line.startswith("Repaired: ") for line in log_lines)
    ended = call("predict", "lengths", "new.csv", "--data", "data", "--out", "out.csv")
    assert ended.err.startswith("Repaired: ")
    assert "Written: out.csv" in ended.out


def test_mistakes_are_user_errors(result):
    with pytest.raises(UserError, match="no run is called 'gone'"):
        pairrank.submit("gone", "data")
    with pytest.raises(UserError, match="this is a folder"):
        pairrank.submit(result, out="data")
    with pytest.raises(UserError, match="the battles are read from this file"):
        pairrank.predict_file(result, "data/test.csv", "data/test.csv")
    partial = pairrank.cross_validate("prior", "data", folds=[0], runs="some")
    with pytest.raises(UserError, match="only fold 0 of 5 is trained"):
        pairrank.submit(partial)
    alone = pairrank.cross_validate("prior", pairrank.read_battles("data/train.csv"))
    with pytest.raises(UserError, match="found none, so there is nothing to submit"):
        pairrank.submit(alone)
