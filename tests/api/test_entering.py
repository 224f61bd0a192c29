"""`enter` stores predictions made elsewhere, and every function that compares runs then knows them."""

import json
from pathlib import Path

import numpy as np
import pytest

import pairrank
from pairrank.data.predictions import Predictions
from pairrank.errors import UserError
from tests.support.battles import tiny_battles
from tests.support.scores import outcome_proba, voted_on

IDS = tiny_battles().id


def random_predictions(seed: int = 0, rows: slice = slice(None)) -> Predictions:
    return Predictions(IDS[rows], np.random.default_rng(seed).dirichlet([3, 3, 2], 40)[rows])


@pytest.fixture
def file(here) -> Path:
    random_predictions().write(Path("oof.csv"))
    return Path("oof.csv")


def test_an_entry_is_compared_as_the_same_predictions_in_memory(file, cross_validated):
    [prior] = cross_validated("prior")
    pairrank.enter(file, "judge", "A judge", "data", trained_on="no votes")
    board = pairrank.compare(data="data")
    assert {row.label: row.training_data for row in board.rows} == {"judge": "declared", "prior": None}
    expected = pairrank.compare({"judge": random_predictions(), "prior": prior}).to_dataframe().loc["judge"]
    for column in ("log_loss", "standard_error", "Δ prior", "Δ prior low"):
        assert board.to_dataframe().loc["judge", column] == pytest.approx(expected[column], abs=1e-7)
    assert pairrank.compare(["judge", "prior"], "data") == board


def test_predictions_in_memory_have_no_source(here):
    entry = pairrank.enter(random_predictions(), "judge", "A judge", "data")
    assert (entry.manifest.source, entry.manifest.trained_on) == (None, None)
    manifest = json.loads(Path("runs/data/entries/judge/entry.json").read_text(encoding="utf-8"))
    assert manifest["data"]["hash"] == tiny_battles().content_hash()


def test_scores_become_probabilities_outside_of_each_fold(here):
    battles, scores = voted_on(400)
    rows = [f"{name},{a!r},{b!r}" for name, (a, b) in zip(battles.id, scores.tolist(), strict=True)]
    Path("s.csv").write_text("\n".join(["id,score_a,score_b", *rows]))
    entry = pairrank.enter("s.csv", "reward-8b", "A reward model", pairrank.BattlesInMemory(battles), runs="runs")
    assert entry.manifest.form == "scores"
    assert entry.predictions.proba == pytest.approx(outcome_proba(scores), abs=0.2)
    assert entry.manifest.fitted.temperature > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("prior", "name of an experiment"),
        ("mine", "name of a run"),
        ("judge", "name of an entry"),
        ("../up", "found '../up'"),
        ("entries", "cannot be the name of a folder"),
        ("history", "cannot be the name of a folder"),
        (" x", "cannot be the name of a folder"),
        ("a~b", "found 'a~b'"),
        ("", "found ''"),
    ],
)
def test_a_name_that_is_taken_or_leads_elsewhere_is_refused(file, name, words):
    Path("experiments").mkdir()
    Path("experiments/mine.toml").write_text('[model]\nname = "prior"\n')
    pairrank.cross_validate("mine", "data")
    Path("experiments/mine.toml").unlink()
    pairrank.enter(file, "judge", "A judge", "data")
    before = sorted(Path("runs").rglob("*"))
    with pytest.raises(UserError, match=words):
        pairrank.enter(file, name, "Another", "data")
    assert sorted(Path("runs").rglob("*")) == before


def test_all_arguments_are_complained_about_at_once_and_nothing_is_stored(file):
    with pytest.raises(UserError, match="4 complaints") as caught:
        pairrank.enter(file, "x/y", "", "data", url="example.org", trained_on=" ")
    for part in ("name: ", "about: ", "url: ", "trained_on: "):
        assert part in str(caught.value)
    assert not Path("runs").exists()


def test_missing_battles_need_the_argument_partial(here):
    with pytest.raises(UserError, match="no prediction"):
        pairrank.enter(random_predictions(rows=slice(30)), "judge", "A judge", "data")
    assert (
        len(
            pairrank.enter(random_predictions(rows=slice(30)), "judge", "A judge", "data", partial=True).predictions
        )
        == 30
    )
    with pytest.raises(UserError, match="no such file"):
        pairrank.enter("none.csv", "other", "A judge", "data")


def test_an_entry_is_published_with_the_same_bytes(file, cross_validated):
    cross_validated("prior")
    pairrank.enter(file, "judge", "A judge", "data", publish_to="site")
    for name in ("entry.json", "predictions.csv"):
        ours, theirs = (Path(place) / "judge" / name for place in ("runs/data/entries", "site/entries/data"))
        assert ours.read_bytes() == theirs.read_bytes()
    with pytest.raises(UserError, match="name of an entry in site"):
        pairrank.enter(file, "judge", "A judge", "data", runs="others", publish_to="site")
    before = {path: path.read_bytes() for path in Path("site").rglob("*") if path.is_file()}
    pairrank.compare(data="data", publish_to="site")
    for path, content in before.items():
        assert path.read_bytes() == content
