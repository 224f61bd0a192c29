"""An experiment has a name that a folder can have, and a file that describes it completely."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.battles import object_array
from pairrank.data.predictions import Predictions
from pairrank.evaluation.curve_runs import curve_label
from pairrank.evaluation.entries import Entry
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from tests.support.runs import write_toml

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_to_toml_writes_a_file_that_loads_as_the_same_experiment(file, here):
    experiment = load_experiment(file.stem)
    kept = write_toml(here / "runs" / experiment.label, experiment.to_toml(), "experiment")
    again = load_experiment(kept)
    assert again.resolved() == experiment.resolved()
    assert again.label == experiment.label
    assert again.to_toml() == experiment.to_toml()


def test_the_label_is_the_plain_name_only_if_nothing_was_changed():
    assert load_experiment("structure", seed=0).label == "structure"
    assert load_experiment("structure", seed=4).label == "structure+seed=4"
    assert load_experiment("structure", seed=4).parameters["seed"] == 4
    assert load_experiment("structure", ["seed=4"], seed=4).label == "structure+seed=4"
    assert load_experiment("prior", seed=4).label == "prior"
    assert load_experiment("prior", salt="1").label == "prior+salt=1"
    assert load_experiment("prior", limit=7).label == "prior+limit=7"
    assert load_experiment("prior", ["smoothing=2"], salt="1", limit=7).label == "prior+smoothing=2+salt=1+limit=7"
    assert Experiment("baseline", "", "baseline", {}, encoder="minilm").label == "baseline@minilm"
    assert Experiment("b", "", "baseline", {}, encoder="/home/me/enc").label == "b@enc"


ODD = [
    "a/b", "a\\b", "a:b", "a*b", "a?b", 'a"b', "a'b", "a<b", "a|b", "a b", "a.", "a ", "A", "a", "[a]", "a\nb",
    "\x1b[31m", "é", "x" * 300, "x" * 299 + "y", "..", "../../x", "a~b",
]  # fmt: skip


def test_labels_are_safe_folder_names_and_distinct(tmp_path):
    labels = [Experiment("e", "", "m", {}, overrides=(f"k={value}",)).label for value in ODD]
    assert len({label.casefold() for label in labels}) == len(ODD)
    for label in labels:
        assert not set(label) & set('/\\:*?"<>|\n\x1b')
        assert label.isprintable()
        assert not label.endswith((".", " "))
        assert len(label) <= 130
        (tmp_path / label).mkdir()


def test_the_runs_of_a_learning_curve_have_one_label_however_long_their_changes(here):
    changes = [f"trees.{name}={value}" for name, value in (("learning_rate", 0.0123), ("leaves", 7))]
    changes += ["tie_rounds=123", "rounds=234", "penalty=12.5", "clip=2.75", "seeds=3", "trees.leaf_penalty=12.25"]
    whole = load_experiment("structure", changes).label
    assert len(whole) > 120
    assert "~" in whole
    subset = load_experiment("structure", changes, train_size=400, train_sample=1).label
    assert subset == f"{whole}+train_size=400+train_sample=1"
    entries = [Entry(label, Predictions(object_array([]), np.empty((0, 3)))) for label in (whole, subset)]
    assert {curve_label(entry) for entry in entries} == {whole}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=4), st.text(max_size=200))
def test_any_override_makes_a_safe_label(values, name):
    experiment = Experiment(name or "e", "", "m", {}, overrides=tuple(f"k{i}={v}" for i, v in enumerate(values)))
    assert not set(experiment.label) & set('/\\:*?"<>|')
    assert all(ord(c) >= 32 for c in experiment.label)
    assert len(experiment.label) <= 130


def test_to_toml_keeps_split_and_overrides(here):
    experiment = load_experiment("prior", ["smoothing=2"], salt='"odd" \\ salt\n', limit=5)
    again = load_experiment(write_toml(here / experiment.label, experiment.to_toml(), "experiment"))
    assert again.parameters == {"smoothing": 2.0}
    assert (again.salt, again.limit) == ('"odd" \\ salt\n', 5)
    assert again.label == experiment.label
