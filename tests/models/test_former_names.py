"""Former names of hyperparameters are read everywhere, and one line of the log says the present name."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pairrank.errors import UserError
from pairrank.models.base import build, parameters_of
from pairrank.models.saving import load_model, save_model
from pairrank.runs.experiment_files import load_experiment
from pairrank.tuning.space import read_space
from tests.support.battles import arena_of_words

OLD_STRUCTURE = """[model]
name = "structure"
leaves = 6
row_share = 0.5
[search]
learner = ["both", "logistic"]
leaves = {choices = [4, 6], when = {learner = "both"}}
penalty = {low = 10.0, high = 1000.0, when = {leaves = 6}}
"""
OLD_GBDT = """inputs = ["structure"]
[model]
name = "gbdt"
[model.growth]
leaves = 6
[search]
growth.leaves = {low = 2, high = 9}
"""


def write(folder: Path, text: str) -> str:
    file = folder / "old.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_an_old_experiment_of_structure_is_read_and_the_new_names_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    experiment = load_experiment(write(tmp_path, OLD_STRUCTURE))
    assert experiment.parameters["trees"]["leaves"] == 6
    assert experiment.parameters["trees"]["row_share"] == 0.5
    (line,) = caplog.messages
    assert "old.toml" in line
    assert "leaves is now trees.leaves, row_share is now trees.row_share" in line
    leaves, penalty = read_space(experiment).dimensions[1:]
    assert (leaves.key, leaves.choices, leaves.own) == ("trees.leaves", (4, 6), 6)
    assert leaves.when == {"learner": ("both",)}
    assert penalty.when == {"trees.leaves": (6,)}


def test_an_old_experiment_of_gbdt_is_read_and_the_new_names_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    experiment = load_experiment(write(tmp_path, OLD_GBDT))
    assert experiment.parameters["trees"]["leaves"] == 6
    assert [each.key for each in read_space(experiment).dimensions] == ["trees.leaves"]
    assert ["growth is now trees" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(("text", "key"), [(OLD_STRUCTURE, "leaves"), (OLD_GBDT, "growth.leaves")])
def test_a_former_name_in_an_override_is_the_present_one(tmp_path: Path, caplog, text: str, key: str):
    file = write(tmp_path, text)
    old, new = (load_experiment(file, [f"{name}=3"]) for name in (key, "trees.leaves"))
    assert old == new
    assert old.parameters["trees"]["leaves"] == 3
    assert any(f"--set {key}=3: {key} is now trees.leaves" in message for message in caplog.messages)


def test_present_names_are_not_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    load_experiment("structure-tuned", ["trees.leaves=3"])
    load_experiment("stack-lightgbm")
    assert caplog.messages == []


def test_both_names_of_one_hyperparameter_are_refused(tmp_path: Path):
    file = write(tmp_path, '[model]\nname = "structure"\nleaves = 6\n[model.trees]\nleaves = 4\n')
    with pytest.raises(UserError, match=r"old\.toml: leaves is now trees\.leaves, and both names are used"):
        load_experiment(file)


@pytest.mark.parametrize("name", ["structure", "gbdt"])
def test_a_model_saved_under_former_names_is_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str):
    battles = arena_of_words(24)
    small = {"rounds": 5, "seeds": 1, "trees": {"min_leaf": 2, "leaves": 3}}
    model = build(name, **small).fit(battles)
    save_model(model, tmp_path)
    file = tmp_path / "model.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    trees = saved["parameters"].pop("trees")
    saved["parameters"] |= trees if name == "structure" else {"growth": trees}
    file.write_text(json.dumps(saved), encoding="utf-8")
    loaded = load_model(tmp_path)
    assert parameters_of(loaded) == parameters_of(model)
    assert np.array_equal(loaded.predict_proba(battles), model.predict_proba(battles))
    assert caplog.messages == []  # its user cannot change the file


def test_the_dropout_of_frozen_is_that_of_its_head(tmp_path: Path):
    file = write(tmp_path, '[model]\nname = "frozen"\ndropout = 0.3\n[search]\ndropout = {low = 0.0, high = 0.5}\n')
    experiment = load_experiment(file)
    assert experiment.parameters["head_dropout"] == 0.3
    assert [each.key for each in read_space(experiment).dimensions] == ["head_dropout"]
