"""An experiment file says only what differs; what it says is checked, and what differs shows in the run's name."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.folder import DataFolder
from pairrank.errors import UserError
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import experiment_files, load_experiment, read_about
from pairrank.runs.run import resolve_run

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, text, name="mine"):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_there_are_experiment_files():
    assert {"prior", "lengths", "structure", "baseline", "baseline-as-published"} <= {file.stem for file in SHIPPED}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_experiment_file_resolves_and_builds(file, here):
    experiment = load_experiment(file.stem)
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    assert experiment.about == table["about"] == read_about(file)
    assert experiment.label == experiment.name == file.stem
    assert type(experiment.build()).model_name == table["model"].pop("name") == experiment.model
    # Every value of the file arrives, nested ones included, and the defaults are written out.
    for key, value in table["model"].items():
        arrived = experiment.parameters[key]
        if isinstance(value, dict):
            assert value.items() <= arrived.items()
        else:
            assert (list(arrived) if isinstance(arrived, tuple) else arrived) == value
    assert len(experiment.parameters) >= len(table["model"])


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_resolved_experiment_is_a_file_that_resolves_to_itself(file, here):
    experiment = load_experiment(file.stem)
    kept = write(here / "runs" / experiment.label, experiment.to_toml(), "experiment")
    again = load_experiment(kept)
    assert again.resolved() == experiment.resolved()
    assert again.label == experiment.label
    assert again.to_toml() == experiment.to_toml()


def test_defaults_are_those_of_the_model():
    assert load_experiment("prior").parameters == {"smoothing": 1.0}
    assert load_experiment("prior").resolved() == {
        "name": "prior",
        "about": "The frequency of each outcome, the same for every battle: the baseline every model must beat.",
        "submittable": True,
        "inputs": [],
        "extra": [],
        "soft_targets": "",
        "teacher": "",
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
        ('[model]\nname = "prior"\n[split]\nfolds = 1', "folds = 1: expected 2 or more"),
        ('[model]\nname = "prior"\n[split]\nlimit = -1', "limit = -1: expected 0"),
        ('[model]\nname = "prior"\n[split]\nsalt = 1', "salt = 1: expected a text"),
        ('[model]\nname = "prior"\nsmoothing = "much"', "smoothing = 'much': expected a number"),
        ('[model]\nname = "prior"\nsmoothing = true', "smoothing = True: expected"),
        ('[model]\nname = "prior"\nsmoothing = nan', "smoothing = nan: expected a finite number"),
        (
            '[model]\nname = "baseline"\n[model.training]\nwarmup = inf',
            r"training\.warmup = inf: expected a finite",
        ),
        ('[model]\nname = "baseline"\ntraining = 3', "training = 3: expected"),
        ('[model]\nname = "baseline"\nbudget = "all"', "budget = 'all': expected one of 'fair', "),
        ('[model]\nname = "baseline"\nencoder = 5', "encoder = 5: expected a list of texts"),
        ('submittable = "no"\n[model]\nname = "prior"', "submittable = 'no': expected true or false"),
        ('about = 3\n[model]\nname = "prior"', "about = 3: expected a text"),
        ('soft_targets = true\n[model]\nname = "prior"', "soft_targets = True: expected the path"),
        ('model = "prior"', r"model = 'prior': expected a table \[model\]"),
        ('about = "x"', "no model. Expected a table"),
        ("[model]\nname = 3", "no model. Expected a table"),
        ("about: x", "not TOML"),
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
def test_a_wrong_file_is_named_with_what_is_wrong(here, text, message):
    with pytest.raises(UserError, match=message) as raised:
        load_experiment(write(here, text))
    assert str(here / "mine.toml") in str(raised.value)


def test_all_complaints_come_at_once(here):
    with pytest.raises(UserError) as raised:
        load_experiment(write(here, 'abuot = "x"\nsubmittable = 1'))
    assert str(raised.value).count("\n  - ") == 3


def test_unreadable_files(here):
    with pytest.raises(UserError, match="no such experiment file"):
        load_experiment("none.toml")
    (here / "folder.toml").mkdir()
    with pytest.raises(UserError, match=r"folder.toml: this file cannot be read \(Is a directory\)"):
        load_experiment("folder.toml")
    (here / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not TOML"):
        load_experiment("bytes.toml")


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(UserError, match=r"no experiment is called 'bseline'. Did you mean 'baseline'\?"):
        load_experiment("bseline")


def test_a_byte_order_mark_is_no_part_of_the_file(here):
    (here / "bom.toml").write_bytes(b'\xef\xbb\xbf[model]\nname = "prior"\n')
    assert load_experiment("bom.toml").model == "prior"


def test_the_users_own_file_wins(here):
    assert load_experiment("prior").parameters == {"smoothing": 1.0}
    write(here / "experiments", '[model]\nname = "prior"\nsmoothing = 9', "prior")
    write(here / "experiments", '[model]\nname = "prior"', "other")
    write(here / "experiments", "a half-written file", ".7.prior")
    assert load_experiment("prior").parameters == {"smoothing": 9.0}
    assert {"prior", "other", "structure"} <= experiment_files().keys()
    assert ".7.prior" not in experiment_files()


def test_a_path_is_an_experiment_too(here):
    experiment = load_experiment(write(here / "deep" / "er", 'about = "Über"\n[model]\nname = "prior"'))
    assert (experiment.name, experiment.about) == ("mine", "Über")


def test_the_split_of_a_file_is_its_own_and_no_override(here):
    file = write(here, '[model]\nname = "prior"\n[split]\nfolds = 3\nsalt = "s"\nlimit = 20')
    experiment = load_experiment(file)
    assert (experiment.folds, experiment.salt, experiment.limit, experiment.label) == (3, "s", 20, "mine")
    assert load_experiment(file, salt="s", limit=20).label == "mine"
    assert load_experiment(file, salt="t").label == "mine+salt=t"


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
def test_set_changes_one_parameter(change, path, value):
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
def test_a_wrong_set_is_named(change, message):
    with pytest.raises(UserError, match=message) as raised:
        load_experiment("baseline", [change])
    assert "--set" in str(raised.value)


def test_set_of_a_value_that_is_a_table_nowhere(here):
    file = write(here, '[model]\nname = "prior"\nsmoothing = 2')
    with pytest.raises(UserError, match=r"--set smoothing\.x=3: smoothing = 2: expected a table"):
        load_experiment(file, ["smoothing.x=3"])


def test_the_last_of_two_values_counts():
    experiment = load_experiment("prior", ["smoothing=2", "smoothing=3"])
    assert experiment.parameters == {"smoothing": 3.0}
    assert experiment.label == "prior+smoothing=3"


def test_only_a_plain_run_has_the_plain_name():
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


def test_an_encoder_that_is_not_the_first_choice_shows_in_the_name(monkeypatch):
    from pairrank.encoders import catalogue
    from pairrank.runs.run import resolve_run

    found = catalogue.Encoder("minilm", Path(), "hash")
    monkeypatch.setattr(catalogue, "find_encoder", lambda names: found)
    run = resolve_run(load_experiment("baseline"), None, Path("runs"))  # type: ignore[arg-type]
    assert run.folder == Path("runs/baseline@minilm")
    assert run.experiment.parameters["encoder"] == ["minilm"]
    first = load_experiment("baseline", ['encoder=["minilm"]'])
    assert resolve_run(first, None, Path("runs")).experiment.label not in ("baseline", "baseline@minilm")  # type: ignore[arg-type]


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


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=4), st.text(max_size=200))
def test_any_override_makes_a_safe_label(values, name):
    experiment = Experiment(name or "e", "", "m", {}, overrides=tuple(f"k{i}={v}" for i, v in enumerate(values)))
    assert not set(experiment.label) & set('/\\:*?"<>|')
    assert all(ord(c) >= 32 for c in experiment.label)
    assert len(experiment.label) <= 130


def test_resolved_split_and_overrides_survive_the_round_trip(here):
    experiment = load_experiment("prior", ["smoothing=2"], salt='"odd" \\ salt\n', limit=5)
    again = load_experiment(write(here / experiment.label, experiment.to_toml(), "experiment"))
    assert again.parameters == {"smoothing": 2.0}
    assert (again.salt, again.limit) == ('"odd" \\ salt\n', 5)
    assert again.label == experiment.label


def test_one_name_stands_for_a_list_of_one():
    assert load_experiment("baseline", ["encoder=minilm"]).parameters["encoder"] == ["minilm"]


def test_under_another_cut_no_fold_of_a_tuned_setting_is_untouched(here):
    file = write(here, 'tuned_on = [0, 1, 2, 3]\n[model]\nname = "prior"')
    assert load_experiment(file, limit=10).tuned_on == (0, 1, 2, 3)
    with pytest.raises(
        UserError, match=r"searched on folds 0, 1, 2, 3 of salt ''. With another split \(salt '1'\)"
    ):
        load_experiment(file, salt="1")


def test_what_builds_on_a_tuned_setting_is_marked_too(here, monkeypatch):
    monkeypatch.chdir(here)
    (here / "experiments").mkdir()
    for name, text in {
        "low": 'tuned_on = [1, 2]\n[model]\nname = "prior"',
        "other": 'tuned_on = [2, 3]\n[model]\nname = "prior"',
        "pool": 'inputs = ["low", "other"]\n[model]\nname = "pool"',
        "top": 'inputs = ["pool"]\n[model]\nname = "pool"',
        "taught": 'teacher = "low"\n[model]\nname = "siamese"\nsoft_targets = true',
        "plain": 'inputs = ["prior"]\n[model]\nname = "pool"',
    }.items():
        (here / "experiments" / f"{name}.toml").write_text(text)
    names = ("low", "pool", "top", "taught", "plain")
    runs = {name: resolve_run(load_experiment(name), DataFolder(here), here) for name in names}
    found = {name: run.tuned_on for name, run in runs.items()}
    assert found == {"low": (1, 2), "pool": (1, 2, 3), "top": (1, 2, 3), "taught": (1, 2), "plain": ()}
