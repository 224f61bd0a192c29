"""`diff` finds runs, former results, entries and files by their names."""

from pathlib import Path

import numpy as np
import pytest

import pairrank
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from tests.support.battles import tiny_battles


@pytest.fixture
def two(cross_validated):
    return cross_validated("prior", "lengths")


@pytest.fixture
def changed(here):
    """A run and its former result, whose experiment had another setting."""
    Path("experiments").mkdir()
    for smoothing in (1.0, 50.0):
        Path("experiments/mine.toml").write_text(f'[model]\nname = "prior"\nsmoothing = {smoothing}')
        pairrank.cross_validate("mine", "data")


def test_the_difference_is_that_of_the_leaderboard(two):
    board = pairrank.compare(two).to_dataframe()
    for found in (pairrank.diff(*two), pairrank.diff("prior", "lengths", "data")):
        assert found.difference.mean == pytest.approx(board.loc["lengths", "Δ prior"])
        assert found.difference.low == pytest.approx(board.loc["lengths", "Δ prior low"])
        frame = found.to_dataframe()
        assert frame["change"].mean() == pytest.approx(found.difference.mean)
        assert frame["id"].tolist() == tiny_battles().id.tolist()
        assert "model.name: prior → structure" in found._repr_html_()


def test_a_run_is_compared_with_its_former_result(changed):
    found = pairrank.diff("mine", data="data", before=True)
    assert found.first.label.startswith("mine~")
    assert found.second.label == "mine"
    settings = {each.key: (each.first, each.second) for each in found.settings if each.kind == "setting"}
    assert settings == {"model.smoothing": ("1.0", "50.0")}
    named = pairrank.diff(found.first.label, "mine", "data")
    assert named.difference == found.difference


def test_entries_files_and_published_results_are_found(two):
    proba = np.random.default_rng(0).dirichlet([3, 3, 2], 40)
    predictions = Predictions(tiny_battles().id, proba)
    predictions.write(Path("b.csv"))
    pairrank.enter(predictions, "judge", "A judge", "data", publish_to="site")
    found = pairrank.diff("judge", "book", "data", add=["book=b.csv"])
    assert found.difference.mean == pytest.approx(0, abs=1e-7)
    assert found.settings is None
    other = pairrank.diff("judge", "lengths", "data", runs="none", add=["lengths=b.csv"], published="site")
    assert other.difference.mean == pytest.approx(0, abs=1e-7)


def test_mistakes_are_user_errors(two):
    for call, words in (
        (lambda: pairrank.diff("prior", data="data"), "expected two runs"),
        (lambda: pairrank.diff("prior", "lengths", "data", before=True), "expected two runs"),
        (lambda: pairrank.diff("prior", data="data", before=True), "no former results"),
        (lambda: pairrank.diff("prior", "lenths", "data"), "Did you mean 'lengths'"),
        (lambda: pairrank.diff(*two, out="data"), "this is a folder"),
    ):
        with pytest.raises(UserError, match=words):
            call()
    fewer = pairrank.cross_validate("prior", pairrank.read_battles("data/train.csv").take(slice(30)))
    with pytest.raises(UserError, match="other battles"):
        pairrank.diff(two[1], fewer)
