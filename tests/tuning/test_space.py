"""A search table is held against the model before anything is tried, and all its faults are told at once."""

import tomllib

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairrank.errors import UserError
from pairrank.runs.experiment_files import experiment_files, load_experiment
from pairrank.tuning.space import DIGITS, changed, read_space

STRUCTURE = '[model]\nname = "structure"\n'


@pytest.fixture
def space_of(tmp_path):
    def read(search: str, model: str = STRUCTURE):
        file = tmp_path / "mine.toml"
        file.write_text(f"{model}[search]\n{search}", encoding="utf-8")
        return read_space(load_experiment(str(file)))

    return read


def draw(space, seed: int):
    """A setting at random, and the Optuna trial that chose it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return space.suggest(trial), trial


@pytest.mark.parametrize("name", sorted(experiment_files()))
def test_every_search_table_that_comes_with_pairrank_can_be_searched(name):
    experiment = load_experiment(name)
    if not experiment.search:
        with pytest.raises(UserError, match="nothing to tune"):
            read_space(experiment)
        return
    space = read_space(experiment)
    assert changed(experiment, space.own()).parameters == experiment.parameters
    for seed in range(30):
        setting, _ = draw(space, seed)
        changed(experiment, setting).build()


def test_the_models_that_the_readme_names_have_search_tables():
    for name in ("structure", "sparse", "frozen", "baseline", "siamese", "stack", "ensemble-fast"):
        assert load_experiment(name).search, name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("penalti = {low = 1.0, high = 2.0}", "no parameter is called 'penalti'. Did you mean 'penalty'?"),
        (
            "penalty = {low = 200.0, high = 1000.0}",
            "own value 100.0, where the search begins, is not in this range",
        ),
        ("penalty = {low = 1000.0, high = 1.0}", "low = 1000.0, high = 1.0: expected low below high"),
        ("penalty = {low = 100.0, high = 100.0}", "expected low below high"),
        (
            "penalty = {low = 0.0, high = 1000.0, log = true}",
            "low = 0.0 with log = true: expected a number above 0",
        ),
        (
            "penalty = {low = 0.0, high = 1000.0}",
            "penalty = 0.0: model 'structure': penalty = 0.0: expected a number above 0",
        ),
        ("penalty = {low = 1.0}", "expected {low = …, high = …}"),
        ("penalty = {}", "expected {low = …, high = …}"),
        ("penalty = 3", "3: expected {low = …, high = …}"),
        ("penalty = {low = nan, high = 1000.0}", "low = nan: expected a number"),
        ("penalty = {low = true, high = 1000.0}", "low = True: expected a number"),
        ("penalty = {low = 1.0, high = 1000.0, log = 1}", "log = 1: expected true or false"),
        (
            "penalty = {low = 1.0, high = 1000.0, stepp = 1}",
            "no key of a range is called 'stepp'. Did you mean 'step'?",
        ),
        ("rounds = {low = 100.5, high = 500}", "low = 100.5: expected a whole number"),
        ("rounds = {low = 100, high = 500, step = 30}", "step = 30: expected steps that end at high"),
        (
            "rounds = {low = 50, high = 450, step = 100}",
            "own value 300, where the search begins, is not in this range",
        ),
        ("rounds = {low = 100, high = 500, step = 0}", "step = 0: expected a number above 0"),
        ("rounds = {low = 100, high = 500, step = 100, log = true}", "not together with log = true"),
        (
            "trees.leaves = {low = 1, high = 8}",
            "trees.leaves = 1: model 'structure', trees: leaves = 1: expected a number from 2 to 131,072",
        ),
        ("trees.column_share = {low = 0.1, high = 1.5}", "column_share = 1.5: expected a share above 0, at most 1"),
        ("learner = {low = 1, high = 2}", "its value is 'both', which is not a number: expected a list of choices"),
        ("decompose = {low = 0, high = 1}", "its value is True, which is not a number"),
        ('learner = ["both"]', "expected a list of two or more"),
        ('learner = ["both", "both"]', "expected different values"),
        ('learner = ["logistic", "lightgbm"]', "own value 'both', where the search begins, is not among"),
        ('learner = ["both", "forest"]', "learner = 'forest': expected one of 'both', 'logistic', 'lightgbm'"),
        (
            'learner = {choices = ["both", "logistic"], low = 1}',
            "choices and a range are given: expected only one of them",
        ),
        ("penalty = {low = 1.0, high = 1000.0, when = 3}", "when = 3: expected a table"),
        ('penalty = {low = 1.0, high = 1000.0, when = {learner = "both"}}', "expected a parameter of this table"),
        (
            'learner = ["both", "logistic"]\nrounds = {low = 100, high = 500, when = {learner = "lightgbm"}}',
            "when.learner: 'lightgbm' is not among its choices",
        ),
        (
            'learner = {choices = ["both", "logistic"], when = {decompose = true}}\n'
            'decompose = {choices = [true, false], when = {learner = "both"}}',
            "learner, decompose depend on each other in a circle",
        ),
    ],
)
def test_a_wrong_entry_is_refused_with_its_key(space_of, line, message):
    with pytest.raises(UserError) as caught:
        space_of(line)
    assert message in str(caught.value)
    assert line.split(" ")[0] in str(caught.value)
    assert "[search] of mine" in str(caught.value)


def test_all_complaints_are_in_one_message(space_of):
    with pytest.raises(UserError) as caught:
        space_of("penalti = [1.0, 2.0]\nleaves = {low = 9, high = 2}\nrounds = 3")
    assert str(caught.value).count("\n  - ") == 3


def test_nested_keys_may_be_tables_or_dotted(space_of):
    model = '[model]\nname = "baseline"\n'
    dotted = space_of("training.epochs = {low = 1, high = 4}", model)
    table = space_of("[search.training]\nepochs = {low = 1, high = 4}", model)
    assert dotted == table
    assert dotted.own() == {"training.epochs": 3}
    experiment = load_experiment("baseline")
    epochs = changed(experiment, {"training.epochs": 1}).parameters["training"]
    assert epochs == experiment.parameters["training"] | {"epochs": 1}
    assert experiment.parameters["training"]["epochs"] == 3


def test_a_list_can_be_a_choice_and_keeps_the_type_of_the_model(space_of):
    space = space_of(
        'groups = {choices = [["length"], ["length", "refusal"]]}', STRUCTURE + 'groups = ["length"]\n'
    )
    assert space.first_setting() == {"groups": '["length"]'}
    assert {draw(space, seed)[0]["groups"] for seed in range(20)} == {("length",), ("length", "refusal")}


def test_whole_numbers_among_fractions_are_fractions(space_of):
    space = space_of("penalty = [1, 100, 1000]")
    assert [type(choice) for choice in space.dimensions[0].choices] == [float] * 3


CONDITIONAL = """
rounds = {low = 100, high = 500, when = {learner = ["both", "lightgbm"]}}
learner = ["both", "logistic", "lightgbm"]
"""


def test_a_conditional_parameter_is_searched_only_if_its_condition_is_met(space_of):
    space = space_of(CONDITIONAL)
    assert [each.key for each in space.dimensions] == ["learner", "rounds"]  # whatever the order of the file
    seen = set()
    for seed in range(40):
        setting, trial = draw(space, seed)
        assert ("rounds" in setting) == (setting["learner"] != "logistic")
        assert trial.params.keys() == setting.keys()
        seen.add(setting["learner"])
    assert seen == {"both", "logistic", "lightgbm"}


def test_conditions_on_an_inactive_parameter_use_the_own_value(space_of):
    space = space_of(
        'weights = ["equal", "temperature"]\nspace = {choices = ["log", "linear"], when = {weights = "equal"}}\n'
        'tie_offset = {choices = [false, true], when = {space = "log"}}',
        'inputs = ["structure"]\n[model]\nname = "pool"\n',
    )
    for seed in range(30):
        setting, _ = draw(space, seed)
        assert ("tie_offset" in setting) == (setting.get("space", "log") == "log")


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(1e-6, 10, allow_subnormal=False),
    times=st.floats(1.001, 1e5),
    seed=st.integers(0, 1000),
    log=st.booleans(),
)
def test_tried_values_have_few_digits_and_are_within_the_bounds(low, times, seed, log):
    from pairrank.tuning.space import Dimension

    high = low * times
    dimension = Dimension("x", low, low=low, high=high, log=log)
    value = dimension.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask())
    assert low <= value <= high
    assert value in (low, high) or value == float(f"{value:.{DIGITS}g}")


def test_the_description_depends_on_the_table_and_not_on_the_own_values(space_of):
    one = space_of("penalty = {low = 1.0, high = 1000.0}").describe()
    assert space_of("penalty = {low = 1.0, high = 1000.0}", STRUCTURE + "penalty = 7.0\n").describe() == one
    assert space_of("penalty = {low = 1.0, high = 1000.5}").describe() != one
    assert space_of("penalty = {low = 1.0, high = 1000.0, log = true}").describe() != one


def test_a_written_run_does_not_contain_the_search_table():
    """What a run writes down can be run again, and does not carry the search."""
    experiment = load_experiment("structure")
    assert experiment.search
    assert "search" not in tomllib.loads(experiment.to_toml())
