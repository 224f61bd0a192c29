"""A change from the command line sets one parameter, and a wrong one is refused with its text."""

import pytest

from pairrank.errors import UserError
from pairrank.runs.experiment_files import load_experiment
from tests.support.runs import write_toml


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("training.epochs=1", ["training", "epochs"], 1),
        ("training.learning_rate=3e-5", ["training", "learning_rate"], 3e-5),
        ("training.learning_rate=1", ["training", "learning_rate"], 1.0),
        ("budget=right", ["budget"], "right"),
        ('budget="right"', ["budget"], "right"),
        (" budget = right ", ["budget"], "right"),
        ('encoder=["a/b", "c=d"]', ["encoder"], ["a/b", "c=d"]),
        ("both_sides=true", ["both_sides"], True),
        ("training={epochs = 2}", ["training", "epochs"], 2),
    ],
)
def test_an_override_changes_one_parameter(change, path, value):
    plain, changed = load_experiment("baseline"), load_experiment("baseline", [change])
    expected = plain.parameters
    for key in path[:-1]:
        expected = expected[key]
    expected[path[-1]] = value
    assert changed.parameters == plain.parameters
    assert changed.label != "baseline"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.epochs", "expected key=value"),
        ("=3", "expected key=value"),
        ("training.=3", "expected key=value"),
        ("name=prior", "Write another experiment file"),
        ("name.x=prior", "Write another experiment file"),
        ("seed.x=3", "seed = 3: expected a table|no parameter|expected"),
        ("budget.x.y=3", "expected"),
        ("training.epoch=3", r"did you mean 'epochs'\?|Did you mean 'epochs'\?"),
        ("trainin.epochs=3", r"Did you mean 'training'\?"),
        ("training.epochs=many", "epochs = 'many': expected a whole number"),
        ("training.epochs=1.5", r"epochs = 1\.5: expected a whole number"),
        ("training.warmup=nan", r"training\.warmup = nan"),
    ],
)
def test_a_wrong_override_is_refused_with_its_text(change, message):
    with pytest.raises(UserError, match=message) as raised:
        load_experiment("baseline", [change])
    assert "--set" in str(raised.value)


def test_a_key_below_a_number_is_refused(here):
    file = write_toml(here, '[model]\nname = "prior"\nsmoothing = 2')
    with pytest.raises(UserError, match=r"--set smoothing\.x=3: smoothing = 2: expected a table"):
        load_experiment(file, ["smoothing.x=3"])


def test_the_last_of_two_values_is_used():
    experiment = load_experiment("prior", ["smoothing=2", "smoothing=3"])
    assert experiment.parameters == {"smoothing": 3.0}
    assert experiment.label == "prior+smoothing=3"
