"""`cross_validate` is the command `run` for one experiment: the same files, whatever form the battles have."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

import pairrank
from pairrank.data.battles import WINNERS
from pairrank.data.frames import to_dataframe
from pairrank.errors import UserError
from tests.support.command_line import run_python

RESULTS = ("oof.csv", "test.csv", "experiment.toml")


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a run that hold neither times nor the commit."""
    return {name: (folder / name).read_bytes() for name in RESULTS}


def test_the_function_writes_what_the_command_writes(call):
    assert call("run", "lengths", "--data", "data", "--seed", "3", "--set", "penalty=2.0").code == 0
    settings = {"penalty": 2.0}
    result = pairrank.cross_validate("lengths", "data", seed=3, settings=settings, runs="mine")
    [command] = Path("runs/data").glob("lengths+*")
    assert result.label == command.name
    assert files_of(result.folder) == files_of(command)
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (result.folder, command))
    assert {key for key in one if one[key] != two[key]} <= {
        "training_seconds",
        "battles_per_second",
        "peak_memory_mb",
    }
    assert result.record.identity == two["identity"]


@pytest.mark.parametrize("form", ["Battles", "DataFrame"])
def test_battles_in_memory_give_the_results_of_their_files(here, form: str):
    expected = pairrank.cross_validate("lengths", "data", runs="runs")
    train, test = (pairrank.read_battles(f"data/{part}.csv") for part in ("train", "test"))
    if form == "DataFrame":
        train, test = to_dataframe(train), to_dataframe(test)
    result = pairrank.cross_validate("lengths", train, test=test)
    assert files_of(result.folder) == files_of(expected.folder)
    assert result.record.identity == expected.record.identity
    assert not result.folder.is_relative_to(here)


def test_runs_on_the_same_battles_in_memory_share_a_folder_and_others_do_not(here):
    train = pairrank.read_battles("data/train.csv")
    one, two = (pairrank.cross_validate("prior", battles) for battles in (train, to_dataframe(train)))
    assert one.folder == two.folder
    other = pairrank.cross_validate("prior", train.take(slice(30)))
    assert other.folder != one.folder


@pytest.mark.slow
def test_the_temporary_folder_is_removed_when_python_ends(here):
    code = (
        "import pairrank\nprint(pairrank.cross_validate('prior', pairrank.read_battles('data/train.csv')).folder)"
    )
    ended = run_python("-c", code)
    assert ended.stderr == ""
    folder = Path(ended.stdout.strip())
    assert folder.is_absolute()
    assert not folder.exists()


def test_a_model_is_the_experiment_of_its_name_with_what_differs_as_a_change(here):
    plain = pairrank.cross_validate(pairrank.build("prior", smoothing=1.0), "data")
    assert plain.label == "prior"
    model = pairrank.build("prior", smoothing=5.0)
    changed = pairrank.cross_validate(model, "data")
    assert changed.label == "prior+smoothing=5.0"
    named = pairrank.cross_validate("prior", "data", settings=["smoothing=5.0"])
    assert named.folder == changed.folder
    assert changed.predictions.proba[0].tolist() != plain.predictions.proba[0].tolist()
    assert not hasattr(model, "shares_")


def test_a_class_that_pairrank_could_not_load_again_is_refused(here):
    class Mine(type(pairrank.build("prior"))):
        pass

    with pytest.raises(UserError, match=r"'prior': the class Mine is not that of the file"):
        pairrank.cross_validate(Mine(), "data")


def test_the_log_loss_and_the_table_are_of_the_out_of_fold_predictions(here):
    result = pairrank.cross_validate("lengths", "data")
    battles = pairrank.read_battles("data/train.csv")
    frame = result.to_dataframe()
    assert frame["id"].tolist() == battles.id.tolist()
    proba = frame[list(WINNERS)].to_numpy()
    expected = sklearn_log_loss(battles.labels, proba, labels=[0, 1, 2])
    assert result.log_loss == pytest.approx(expected, abs=1e-12)
    assert frame["loss"].mean() == pytest.approx(expected, abs=1e-12)
    assert frame["winner"].tolist() == [("A", "B", "tie")[label] for label in battles.labels]
    assert result.interval[0] < result.log_loss < result.interval[1]
    for fold, part in frame.groupby("fold"):
        stored = pairrank.read_predictions(result.folder / f"fold{fold}" / "oof.csv")
        assert stored.id.tolist() == part["id"].tolist()


def test_only_the_wanted_folds_and_battles_are_used(here):
    result = pairrank.cross_validate("prior", "data", folds=[1], limit=30, salt="x")
    assert result.record.folds == (1,)
    assert set(result.to_dataframe()["fold"]) == {1}
    assert result.label == "prior+salt=x+limit=30"


def test_new_battles_are_predicted_by_the_fold_models(here):
    result = pairrank.cross_validate("lengths", "data")
    test = pairrank.read_battles("data/test.csv")
    assert result.test is not None
    np.testing.assert_allclose(result.predict(test).proba, result.test.proba, atol=1e-8)
    assert result.predict(to_dataframe(test)).id.tolist() == test.id.tolist()


def test_a_notebook_shows_escaped_text(here):
    Path("experiments").mkdir()
    text = 'about = "<script>alert(1)</script>"\n[model]\nname = "prior"\n'
    Path("experiments/mine.toml").write_text(text)
    html = pairrank.cross_validate("mine", "data")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "log loss" in html


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"experiment": "priors"}, "Did you mean 'prior'"),
        ({"data": "nowhere"}, "no such folder"),
        ({"data": 7}, "expected a pandas DataFrame"),
        ({"folds": [9]}, "prior has the folds 0 to 4"),
        ({"settings": {"smothing": 1}}, "Did you mean 'smoothing'"),
        ({"settings": "smoothing=1"}, "expected a dictionary"),
        ({"settings": {"smoothing": object()}}, "expected a number"),
        ({"test": pairrank.Battles}, "expected only with battles in memory"),
        ({"extra": ["gone"]}, "no battle file found"),
    ],
)
def test_mistakes_are_user_errors(here, arguments, words: str):
    with pytest.raises(UserError, match=words):
        pairrank.cross_validate(**{"experiment": "prior", "data": "data"} | arguments)


def test_battles_without_winners_are_refused(here):
    with pytest.raises(UserError, match="no winners"):
        pairrank.cross_validate("prior", pairrank.read_battles("data/test.csv"))


def test_nothing_is_printed(here, capsys):
    pairrank.cross_validate("prior", "data")
    pairrank.compare(data="data")
    assert capsys.readouterr() == ("", "")
