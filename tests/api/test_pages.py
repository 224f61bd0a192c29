"""`explore` and `report` write the pages of the commands."""

from pathlib import Path

import pytest

import pairrank
from pairrank.errors import UserError

pytestmark = pytest.mark.slow


def test_pages_are_those_of_the_commands(call):
    for name in ("prior", "lengths"):
        pairrank.cross_validate(name, "data")
    assert call("report", "lengths", "--data", "data", "--out", "theirs.html").code == 0
    assert pairrank.report(["lengths"], "data", "mine.html") == Path("mine.html")
    assert Path("mine.html").read_bytes() == Path("theirs.html").read_bytes()
    assert call("explore", "--data", "data", "--out", "theirs.html").code == 0
    assert pairrank.explore("data", "mine.html") == Path("mine.html")
    assert Path("mine.html").read_bytes() == Path("theirs.html").read_bytes()


def test_battles_in_memory_are_explored(here):
    train = pairrank.read_battles("data/train.csv")
    page = pairrank.explore(train, "mine.html").read_text(encoding="utf-8")
    assert "The data: battles" in page
    assert "40 battles of train" in page
    with pytest.raises(UserError, match="this is a folder"):
        pairrank.explore(train, "data")
    with pytest.raises(UserError, match="no runs"):
        pairrank.report(data=train.take(slice(20)), out="report.html")
