"""`compare` is the command `compare`, over runs, results and predictions in memory."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import pairrank
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from pairrank.evaluation import leaderboard


@pytest.fixture
def two(cross_validated):
    return cross_validated("prior", "lengths")


def test_the_function_makes_the_leaderboard_of_the_command(two, call):
    assert call("compare", "--data", "data").code == 0
    board = pairrank.compare(data="data")
    board.write("mine")
    for name in ("leaderboard.json", "LEADERBOARD.md"):
        assert (Path("mine") / name).read_bytes() == (Path("runs/data") / name).read_bytes()
    assert board.markdown() == Path("mine/LEADERBOARD.md").read_text(encoding="utf-8")


def test_results_names_and_predictions_give_the_same_rows(two):
    expected = pairrank.compare(data="data")
    assert isinstance(expected, leaderboard.Leaderboard)
    assert pairrank.compare(two) == expected
    assert pairrank.compare(["prior", "lengths"], "data") == expected
    assert pairrank.compare(["lengths", two[0]]) == expected
    assert pairrank.compare({each.label: each for each in two}) == expected
    file = two[1].folder / "oof.csv"
    for given in (two[1].predictions, file, str(file), two[1].to_dataframe()):
        row = pairrank.compare({"mine": given, "prior": two[0]}).to_dataframe().loc["mine"]
        best = expected.to_dataframe().loc["lengths"]
        for column in ("log_loss", "standard_error", "Δ prior", "Δ prior low", "Δ prior high", "accuracy"):
            assert row[column] == pytest.approx(best[column], abs=1e-12)


def test_the_table_has_every_row_with_exact_values(two):
    board = pairrank.compare(two, reference="lengths")
    frame = board.to_dataframe()
    written = json.loads(json.dumps([row.log_loss for row in board.rows]))
    assert frame["log_loss"].tolist() == written
    assert frame.index.tolist() == [row.label for row in board.rows]
    assert math.isnan(frame.loc["lengths", "Δ lengths"])
    difference = board.rows[frame.index.tolist().index("prior")].differences["lengths"]
    assert frame.loc["prior", "Δ lengths low"] == difference.low


@pytest.mark.parametrize("kind", ["log loss", "differences", "training_seconds"])
def test_a_plot_is_a_chart_of_matplotlib(two, kind: str):
    chart = pairrank.compare(two).plot(kind)
    assert chart.figure.axes
    assert ElementTree.fromstring(chart.svg()).attrib["aria-label"] == chart.alt


def test_a_notebook_shows_an_escaped_table(two):
    html = pairrank.compare({"<b>": two[0], "prior": two[0]})._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "Δ prior" in html
    assert "bootstrap over prompts" in html


def test_results_on_other_battles_are_refused(two, here):
    train = pairrank.read_battles("data/train.csv")
    fewer = pairrank.cross_validate("prior", train.take(slice(30)))
    with pytest.raises(UserError, match="prior is a run on other battles"):
        pairrank.compare([two[1], fewer])


def test_mistakes_are_user_errors(two):
    ids, proba = two[0].predictions.id, two[0].predictions.proba
    for entries, words in (
        ([], "expected one or more"),
        (["nothing"], "no run is called 'nothing'"),
        ("prior", "expected a list"),
        ([two[0].predictions], "has no name"),
        ({"mine": Predictions(ids, proba * 2)}, "mine: "),
        ({"mine": two[0].to_dataframe().drop(columns="id")}, "missing column 'id'"),
        ({"mine": 7}, "expected predictions or a DataFrame"),
        ({"mine": Predictions(np.array(["x"], dtype=object), proba[:1])}, "not among these battles"),
    ):
        with pytest.raises(UserError, match=words):
            pairrank.compare(entries, "data")
    with pytest.raises(UserError, match="no entry is called 'priors'"):
        pairrank.compare(two, reference="priors")
    with pytest.raises(UserError, match="expected log loss"):
        pairrank.compare(two).plot("loss")
    with pytest.raises(UserError, match="Leave out entries"):
        pairrank.compare(two, history=True)


def test_publishing_equals_the_command(two, call):
    assert call("compare", "--data", "data", "--publish", "theirs").code == 0
    pairrank.compare(data="data", publish_to="mine")
    ours, theirs = (
        {str(file.relative_to(top)): file.read_bytes() for file in sorted(Path(top).rglob("*")) if file.is_file()}
        for top in ("mine", "theirs")
    )
    assert ours == theirs
    assert len(ours) > 4
