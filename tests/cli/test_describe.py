"""`describe` explains every parameter, and says of each what the imported model says."""

import json
import sys
from pathlib import Path

import pytest

from pairrank.cli.parameters import UNKNOWN, class_parameters, model_parameters, shown
from pairrank.models.base import build, model_class, model_names, parameters_of
from pairrank.nested import dotted_items
from pairrank.runs.experiment_files import experiment_files
from tests.support.command_line import refused, run_python


@pytest.mark.parametrize("model", model_names())
def test_parameters_read_from_the_source_are_those_of_the_imported_model(model):
    about, found = model_parameters(model)
    defaults = dict(dotted_items(parameters_of(build(model))))
    assert [each.key for each in found] == list(defaults)
    assert {each.key: shown(each.default) for each in found} == {k: shown(v) for k, v in defaults.items()}
    assert about.split("\n")[0] == (model_class(model).__doc__ or "").split("\n")[0]
    for each in found:
        assert each.default is not UNKNOWN
        assert each.accepts


def test_a_parameter_has_its_docstring_its_choices_and_its_bounds():
    found = {each.key: each for each in model_parameters("siamese")[1]}
    assert found["pooling"].accepts == 'one of "auto", "mean", "last", "cls", "attention", "answer"'
    assert "tokens" in found["pooling"].about
    # Choices that another module defines, and bounds and defaults of a nested table.
    assert '"bf16"' in found["training.precision"].accepts
    assert found["training.hold_out"].accepts == "a share from 0 to below 1"
    assert found["training.epochs"].accepts == "a whole number, 1 or more"
    assert found["training.epochs"].default != class_parameters("pairrank.training.recipe", "Recipe")[1].default


@pytest.mark.slow
def test_torch_is_not_loaded_to_describe():
    code = (
        "import sys\nfrom pairrank.cli.app import main\n"
        "for name in ('baseline', 'siamese', 'frozen', 'pool', 'prior'):\n"
        "    sys.argv = ['pairrank', 'describe', name]\n"
        "    try: main()\n    except SystemExit as end: assert not end.code, name\n"
        "print(sorted({'torch', 'transformers', 'optuna'} & set(sys.modules)))"
    )
    ended = run_python("-c", code)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr


@pytest.mark.parametrize("name", sorted(experiment_files()))
def test_every_committed_experiment_is_described(call, name):
    ended = call("describe", name)
    assert (ended.code, ended.err) == (0, "")
    assert f"{name}: " in ended.out
    assert all(len(line) <= 80 for line in ended.out.splitlines() if not line.startswith("File: "))


def test_an_experiments_own_value_is_shown_with_the_default_and_the_search_range(call, here):
    Path("mine.toml").write_text(
        'about = "Mine."\n[model]\nname = "structure"\npenalty = 50\n[search]\nlearner = ["both", "logistic"]\n'
        'penalty = {low = 10.0, high = 100.0, log = true, when = {learner = ["both", "logistic"]}}\n'
        "rounds = {low = 100, high = 500, step = 50}\n[split]\nfolds = 4\n"
    )
    ended = call("describe", "mine.toml")
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "mine: Mine." in text
    assert "penalty = 50 (default 100.0; a number above 0)" in text
    assert "from 10.0 to 100.0 on a logarithmic scale, where learner is" in text
    assert "from 100 to 500 in steps of 50" in text
    assert 'among "both", "logistic"' in text
    assert "split.folds = 4 (default 5; a whole number)" in text


def test_former_names_of_parameters_are_described_under_the_present_ones(call, here):
    Path("old.toml").write_text('[model]\nname = "structure"\nleaves = 7\n[search]\nleaves = {low = 2, high = 9}\n')
    text = " ".join(call("describe", "old.toml").out.split())
    assert "trees.leaves = 7 (default 4" in text
    assert "from 2 to 9" in text


def test_a_model_without_an_experiment_of_its_name_is_described_with_the_experiments_that_use_it(call):
    ended = call("describe", "gbdt")
    assert ended.code == 0
    assert "Model gbdt: " in ended.out
    assert "stack-lightgbm" in ended.out
    assert "hold_out = 0.2" in ended.out


def test_an_unknown_name_gets_the_nearest_known_one(call, here):
    assert refused(call("describe", "siames"), "'siames'", "Did you mean 'siamese'?")
    assert refused(call("describe", "none.toml"), "none.toml: no such experiment file")
    Path("odd.toml").write_text('[model]\nname = "gbtd"')
    assert refused(call("describe", "odd.toml"), "Did you mean 'gbdt'?")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (2e-5, "2e-05"),
        ("a", '"a"'),
        ((1, 2), "[1, 2]"),
        ([], "[]"),
        ({"path": "x"}, '{path = "x"}'),
    ],
)
def test_a_value_is_shown_as_an_experiment_file_has_it(value, text):
    assert shown(value) == text


def test_nothing_of_a_description_acts_on_the_terminal(call, here):
    Path("odd.toml").write_text(f'about = {json.dumps("[red]x[/]" + chr(27))}\n[model]\nname = "prior"')
    ended = call("describe", "odd.toml")
    assert "[red]x[/]\\x1b" in ended.out
    assert sys.exc_info() == (None, None, None)
