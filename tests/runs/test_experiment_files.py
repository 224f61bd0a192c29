"""An experiment file holds only what differs from the defaults, and its faults are reported with its path."""

import tomllib
from pathlib import Path

import pytest

from pairrank.errors import UserError
from pairrank.models.corrected import WithEvidence
from pairrank.runs.experiment_files import experiment_files, load_experiment
from tests.support.runs import complaint, load_run, write_experiment, write_toml

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


def test_nested_without_inputs_and_two_teachers_are_refused(workspace):
    assert "no inputs to train again" in complaint(lambda: load_experiment("memory", nested=True))
    text = 'teacher = "memory"\nsoft_targets = "x.csv"\n[model]\nname = "frozen"\nhead = "difference"'
    write_experiment(workspace, "mine", text)
    assert "expected only one of them" in complaint(lambda: load_experiment("mine"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'inputs = ["memory"]\n[model]\nname = "kernel"',
            "'kernel' does not read predictions of other experiments",
        ),
        ('[model]\nname = "pool"', "'pool' needs at least one"),
    ],
)
def test_inputs_that_the_model_ignores_or_lacks_are_refused(workspace, text, expected):
    write_experiment(workspace, "mine", text)
    assert expected in complaint(lambda: load_run(workspace, "mine"))


def test_the_documented_experiments_are_shipped():
    assert {"prior", "lengths", "structure", "baseline", "baseline-as-published"} <= {file.stem for file in SHIPPED}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_file_resolves_and_builds(file, here):
    experiment = load_experiment(file.stem)
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    assert experiment.about == table["about"]
    assert experiment.label == experiment.name == file.stem
    model = experiment.build()
    assert isinstance(model, WithEvidence) == table.get("evidence", True)
    assert getattr(model, "inner", model).model_name == table["model"].pop("name") == experiment.model
    # Every value of the file arrives, nested ones included, and the defaults are written out.
    for key, value in table["model"].items():
        arrived = experiment.parameters[key]
        if isinstance(value, dict):
            assert value.items() <= arrived.items()
        else:
            assert (list(arrived) if isinstance(arrived, tuple) else arrived) == value
    assert len(experiment.parameters) >= len(table["model"])


def test_parameters_default_to_those_of_the_model():
    assert load_experiment("prior").parameters == {"smoothing": 1.0}
    assert load_experiment("prior").resolved() == {
        "name": "prior",
        "about": "The frequency of each outcome, the same for every battle: the baseline every model must beat.",
        "submittable": True,
        "inputs": [],
        "extra": [],
        "soft_targets": "",
        "teacher": "",
        "teacher_weight": 1.0,
        "evidence": False,
        "seconds": 1.0,
        "model": {"name": "prior", "smoothing": 1.0},
        "split": {"folds": 5, "salt": "", "limit": 0, "nested": False},
        "tuned_on": [],
        "overrides": [],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('abuot = "x"\n[model]\nname = "prior"', r"no key is called 'abuot'. Did you mean 'about'\?"),
        ('[model]\nname = "priro"', r"no model is called 'priro'. Did you mean 'prior'\?"),
        ('[model]\nname = "prior"\nsmothing = 1', r"no parameter is called 'smothing'. Did you mean 'smoothing'\?"),
        (
            '[model]\nname = "baseline"\n[model.training]\nepoch = 1',
            r"no parameter is called 'epoch'. Did you mean 'epochs'\?",
        ),
        ('[model]\nname = "prior"\n[split]\nfold = 3', r"no parameter is called 'fold'. Did you mean 'folds'\?"),
        ('[model]\nname = "prior"\n[split]\nfolds = 1', "folds = 1: expected 2 to 10,000"),
        ('[model]\nname = "prior"\n[split]\nlimit = -1', "limit = -1: expected 0"),
        ('[model]\nname = "prior"\n[split]\nsalt = 1', "salt = 1: expected a string"),
        ('[model]\nname = "prior"\nsmoothing = "much"', "smoothing = 'much': expected a number"),
        ('[model]\nname = "prior"\nsmoothing = true', "smoothing = True: expected"),
        ('[model]\nname = "prior"\nsmoothing = nan', "smoothing = nan: expected a finite number"),
        (
            '[model]\nname = "baseline"\n[model.training]\nwarmup = inf',
            r"training\.warmup = inf: expected a finite",
        ),
        ('[model]\nname = "baseline"\ntraining = 3', "training = 3: expected"),
        ('[model]\nname = "baseline"\nbudget = "all"', "budget = 'all': expected one of 'fair', "),
        ('[model]\nname = "baseline"\nencoder = 5', "encoder = 5: expected a list of strings"),
        ('submittable = "no"\n[model]\nname = "prior"', "submittable = 'no': expected true or false"),
        ('about = 3\n[model]\nname = "prior"', "about = 3: expected a string"),
        ('soft_targets = true\n[model]\nname = "prior"', "soft_targets = True: expected the path"),
        ('model = "prior"', r"model = 'prior': expected a table \[model\]"),
        ('about = "x"', "no model. Expected a table"),
        ("[model]\nname = 3", "no model. Expected a table"),
        ("about: x", "TOMLDecodeError"),
        ('soft_targets = "oof.csv"\n[model]\nname = "baseline"', "does not learn from it"),
        ('search = 3\n[model]\nname = "prior"', r"search = 3: expected a table \[search\]"),
        ('tuned_on = 3\n[model]\nname = "prior"', "tuned_on = 3: expected a list of folds"),
        ('tuned_on = [5]\n[model]\nname = "prior"', r"tuned_on = \[5\]: expected numbers from 0 to 4"),
        (
            'tuned_on = [1, 1]\n[model]\nname = "prior"',
            r"tuned_on = \[1, 1\]: expected numbers from 0 to 4, each once",
        ),
        ('tuned_on = [true]\n[model]\nname = "prior"', r"tuned_on = \[True\]: expected numbers"),
        ('tuned_on = [0, 1, 2, 3, 4]\n[model]\nname = "prior"', "names every fold"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_its_faults(here, text, message):
    with pytest.raises(UserError, match=message) as raised:
        load_experiment(write_toml(here, text))
    assert str(here / "mine.toml") in str(raised.value)


def test_all_faults_of_a_file_are_reported_at_once(here):
    with pytest.raises(UserError) as raised:
        load_experiment(write_toml(here, 'abuot = "x"\nsubmittable = 1'))
    assert str(raised.value).count("\n  - ") == 3


def test_missing_and_unreadable_files_are_refused(here):
    with pytest.raises(UserError, match="no such experiment file"):
        load_experiment("none.toml")
    (here / "folder.toml").mkdir()
    with pytest.raises(UserError, match=r"folder.toml: a folder or a pipe, expected an experiment file"):
        load_experiment("folder.toml")
    (here / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UnicodeDecodeError"):
        load_experiment("bytes.toml")


def test_an_unknown_name_is_refused_with_the_most_similar_one():
    with pytest.raises(UserError, match=r"no experiment is called 'bseline'. Did you mean 'baseline'\?"):
        load_experiment("bseline")


def test_a_byte_order_mark_is_ignored(here):
    (here / "bom.toml").write_bytes(b'\xef\xbb\xbf[model]\nname = "prior"\n')
    assert load_experiment("bom.toml").model == "prior"


def test_a_users_file_replaces_a_shipped_one_of_the_same_name(here):
    assert load_experiment("prior").parameters == {"smoothing": 1.0}
    write_toml(here / "experiments", '[model]\nname = "prior"\nsmoothing = 9', "prior")
    write_toml(here / "experiments", '[model]\nname = "prior"', "other")
    write_toml(here / "experiments", "a half-written file", ".7.prior")
    assert load_experiment("prior").parameters == {"smoothing": 9.0}
    assert {"prior", "other", "structure"} <= experiment_files().keys()
    assert ".7.prior" not in experiment_files()


def test_an_experiment_may_be_given_as_a_path(here):
    experiment = load_experiment(write_toml(here / "deep" / "er", 'about = "Über"\n[model]\nname = "prior"'))
    assert (experiment.name, experiment.about) == ("mine", "Über")


def test_the_split_of_a_file_is_not_an_override(here):
    file = write_toml(here, '[model]\nname = "prior"\n[split]\nfolds = 3\nsalt = "s"\nlimit = 20')
    experiment = load_experiment(file)
    assert (experiment.folds, experiment.salt, experiment.limit, experiment.label) == (3, "s", 20, "mine")
    assert load_experiment(file, salt="s", limit=20).label == "mine"
    assert load_experiment(file, salt="t").label == "mine+salt=t"


def test_one_name_is_read_as_a_list_of_one():
    assert load_experiment("baseline", ["encoder=minilm"]).parameters["encoder"] == ["minilm"]


def test_a_tuned_setting_is_refused_with_another_salt(here):
    file = write_toml(here, 'tuned_on = [0, 1, 2, 3]\n[model]\nname = "prior"')
    assert load_experiment(file, limit=10).tuned_on == (0, 1, 2, 3)
    with pytest.raises(UserError, match=r"tuned on folds 0, 1, 2, 3 of salt ''. With another split \(salt '1'\)"):
        load_experiment(file, salt="1")
