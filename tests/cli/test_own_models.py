"""From `new-model` to a row of the leaderboard, and every mistake on the way is one message."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pairrank import plugins
from pairrank.data.predictions import read_predictions
from tests.support.command_line import ENVIRONMENT, refused
from tests.support.own_code import install_package, write_model
from tests.support.runs import write_toml


@pytest.fixture
def mine(call, here: Path) -> Path:
    """./mine.py with its experiment, as `new-model` writes them."""
    assert call("new-model", "mine").code == 0
    return here / "mine.py"


@pytest.fixture
def trained(call, mine: Path) -> Path:
    """./runs/data/mine, finished; its code is forgotten, as in another process."""
    ended = call("run", "mine.toml", "--data", "data")
    assert ended.code == 0, ended.err
    plugins._loaded.clear()
    return Path("runs/data/mine")


# new-model


def test_new_model_writes_three_files_and_names_the_commands(call, here):
    ended = call("new-model", "my_own", "--folder", "deep/er")
    assert (ended.code, ended.err) == (0, "")
    folder = Path("deep/er")
    assert sorted(file.name for file in folder.iterdir()) == ["my_own.py", "my_own.toml", "test_my_own.py"]
    for command in ("check-model deep/er/my_own.py", "run deep/er/my_own.toml", "pytest deep/er/test_my_own.py"):
        assert command.replace("/", os.sep) in ended.out
    assert "class MyOwn(Model):" in (folder / "my_own.py").read_text()
    assert tomllib.loads((folder / "my_own.toml").read_text())["model"]["name"] == "./my_own.py:MyOwn"
    texts = [file.read_text() for file in folder.iterdir()]
    assert not any(word in text for text in texts for word in ("OwnModel", "own_model"))


@pytest.mark.parametrize("file", ["mine.py", "test_mine.py", "mine.toml"])
def test_new_model_overwrites_nothing(call, here, file):
    Path(file).write_text("precious")
    assert refused(call("new-model", "mine"), file, "exists already")
    assert Path(file).read_text() == "precious"
    assert [each.name for each in here.glob("*mine*")] == [file]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("My", "lower-case"),
        ("../up", "lower-case"),
        ("class", "lower-case"),
        ("a-b", "lower-case"),
        ("structure", "a model or an experiment has this name"),
        ("lengths", "a model or an experiment has this name"),
        ("json", "a Python module has this name"),
        ("numpy", "a Python module has this name"),
    ],
)
def test_new_model_refuses_a_name_that_would_hide_another(call, here, name, word):
    assert refused(call("new-model", name), name, word)


# check-model


def test_check_model_shows_every_law(call, mine):
    ended = call("check-model", "mine.py")
    assert (ended.code, ended.err) == (0, "")
    assert "mine.py:Mine: 14 of 14 laws hold" in ended.out
    assert "The model keeps the contract." in ended.out


def test_check_model_names_a_broken_law_with_its_number(call, here):
    write_model(here / "mine.py", ("[a - b]", "[a]"))
    ended = call("check-model", "mine.py:OwnModel", "--set", "penalty=2")
    assert refused(ended, "mine.py:OwnModel: it breaks 1 law of the contract")
    [row] = [line for line in ended.out.splitlines() if " NO " in line]
    assert "exchanges A and B" in row
    assert "expected at most 1e-06" in row


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.py"], ["gone.py", "no Python file"]),
        (["mine.py:Yours"], ["no class or function is called 'Yours'", "Known:", "Mine"]),
        (["mine.py", "--set", "penalty=-1"], ["penalty = -1", "above 0"]),
        (["mine.py", "--set", "penalti=1"], ["Did you mean 'penalty'?"]),
        (["mine"], ["no model is called 'mine'", "./mine.py:MyModel"]),
    ],
)
def test_a_mistake_in_check_model_is_one_message(call, mine, arguments, words):
    assert refused(call("check-model", *arguments), *words)


# run, predict, submit


def test_a_model_of_ones_own_gets_a_row_and_finished_folds_are_used_again(call, trained):
    record = json.loads((trained / "metrics.json").read_text())
    assert record["experiment"]["model"] == {"name": "mine.py:Mine", "penalty": 1.0}
    assert "| mine |" in (trained.parent / "LEADERBOARD.md").read_text()
    assert call("run", "mine.toml", "--data", "data").out.count("used again") == 5
    with Path("mine.py").open("a") as file:
        file.write("\n\nCHANGED = 1\n")
    assert call("run", "mine.toml", "--data", "data").out.count("training on") == 5


def test_predict_and_submit_need_the_code_named(call, trained):
    predict = ("predict", "mine", "data/test.csv", "--data", "data", "--out", "new.csv")
    assert refused(call(*predict), "'mine.py:Mine' is code outside pairrank", "--plugin PATH/mine.py")
    assert call(*predict, "--plugin", "mine.py").code == 0
    assert read_predictions("new.csv").proba == pytest.approx(
        read_predictions(trained / "test.csv").proba, abs=1e-8
    )
    assert call("submit", "mine", "--data", "data").code == 0  # it needs no model
    assert call("compare", "--data", "data").code == 0
    assert call("report", "--data", "data").code == 0
    assert call("list", "--data", "data").code == 0


EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"


def test_the_file_of_a_run_starts_no_code_nor_does_what_it_builds_on(call, trained, here):
    """Neither code beside the experiment.toml of a foreign run, nor that of an input that it names."""
    (trained / "mine.py").write_text(EVIL)
    assert refused(call("run", trained / "experiment.toml", "--data", "data"), "--plugin PATH/mine.py")
    write_toml(here / "foreign", '[model]\nname = "./evil.py"', "evil")
    (here / "foreign" / "evil.py").write_text(EVIL)
    (trained / "experiment.toml").write_text('inputs = ["foreign/evil.toml"]\n[model]\nname = "pool"\n')
    assert refused(call("run", trained / "experiment.toml", "--data", "data"), "evil.py", "--plugin")
    assert call("describe", trained / "experiment.toml").code == 0
    assert not list(here.rglob("ran"))
    assert "evil" in call("run", "foreign/evil.toml", "--data", "data").err
    assert list(here.rglob("ran"))  # what the user names runs


def test_the_file_of_a_run_can_be_run_with_its_code_named(call, trained):
    ended = call("run", trained / "experiment.toml", "--data", "data", "--plugin", "mine.py")
    assert ended.out.count("used again") == 5


def test_describe_explains_the_parameters_of_a_model_of_ones_own(call, mine):
    for name in ("mine.toml", "mine.py", "./mine.py:Mine"):
        ended = call("describe", name)
        assert ended.code == 0, ended.err
        assert "penalty = 1.0" in ended.out
        assert "fewer battles need more" in ended.out


def test_an_error_while_own_code_works_names_its_line(call, here):
    write_model(here / "mine.py", ("        odd, even = columns(train)\n", "        odd, even = None\n"))
    write_toml(here, '[model]\nname = "./mine.py:OwnModel"')
    line = (here / "mine.py").read_text().splitlines().index("        odd, even = None") + 1
    assert refused(call("run", "mine.toml", "--data", "data"), f"mine.py, line {line}: ", "TypeError", "--debug")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("./gone.py:Mine", None, ["gone.py", "no Python file"]),
        ("./mine.py", "import no_such_package", ["mine.py, line 1", "no_such_package"]),
        ("./mine.py", "x = 1", ["mine.py", "defines no subclass of pairrank.models.base.Model"]),
        ("no_such_package.module:Mine", None, ["no_such_package"]),
        ("mien", None, ["no model is called 'mien'", "./mine.py:MyModel"]),
    ],
)
def test_a_wrong_name_in_an_experiment_is_one_message(call, here, name, text, words):
    if text:
        (here / "mine.py").write_text(text)
    write_toml(here, f'[model]\nname = "{name}"')
    assert refused(call("run", "mine.toml", "--data", "data"), "mine.toml: ", *words)


def test_groups_of_ones_own_are_named_in_the_file_or_on_the_command_line(call, here):
    (here / "words.py").write_text("def shout(answer, prompt):\n    return {'x': float(answer.text.count(','))}\n")
    write_toml(here, '[model]\nname = "structure"\nlearner = "logistic"\ngroups = ["length", "./words.py:shout"]')
    assert call("run", "mine.toml", "--data", "data").code == 0
    record = json.loads(Path("runs/data/mine/metrics.json").read_text())
    assert record["experiment"]["model"]["groups"] == ["length", "words.py:shout"]
    plugins._loaded.clear()
    assert refused(call("predict", "mine", "data/test.csv", "--data", "data", "--out", "p.csv"), "words.py")
    setting = 'groups=["length","./words.py:shout"]'
    assert call("run", "structure", "--data", "data", "--set", "learner=logistic", "--set", setting).code == 0


# Schemas

SCHEMA = """
from pairrank.data.formats.base import RowSchema, Vote, register, text_cell


@register
class Sides(RowSchema):
    about = "two sides"
    required = ("question", "left", "right")

    def votes(self, row):
        return [Vote(*((text_cell(row, name),) for name in self.required), None)]
"""


def test_a_schema_is_found_in_a_plugin_or_in_an_installed_package(call, run_once, here, monkeypatch):
    Path("sides.jsonl").write_text('{"question": "q", "left": "a", "right": "b"}\n')
    schema = f"sides_{here.name}"
    (here / f"{schema}.py").write_text(SCHEMA)
    run_once("prior")
    predict = ("predict", "prior", "sides.jsonl", "--data", "data", "--out", "p.csv")
    assert call(*predict).code == 2
    assert call(*predict, "--plugin", f"{schema}.py").code == 0
    plugins._loaded.clear()
    os.environ.pop(plugins.VARIABLE)
    (here / "site").mkdir()
    (here / "site" / f"installed_{schema}.py").write_text(SCHEMA)
    install_package(here / "site", monkeypatch, "offers", formats=f"two_sides = installed_{schema}:Sides")
    assert "two_sides" in call("check", "sides.jsonl").out
    assert call(*predict).code == 0


# As a user does it, in a folder of its own


@pytest.mark.slow
def test_a_folder_outside_the_repository_needs_no_pip(tmp_path: Path):
    """new-model, check-model, run, the written test, and predict, each in a process of its own."""

    def start(*arguments: object, code: int = 0) -> str:
        command = [sys.executable, "-m", *map(str, arguments)]
        environment = os.environ | ENVIRONMENT
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    start("pairrank", "new-model", "own_lengths")
    assert "14 of 14 laws hold" in start("pairrank", "check-model", "own_lengths.py")
    assert "own_lengths" in start("pairrank", "run", "own_lengths.toml")
    assert "| own_lengths |" in (tmp_path / "runs" / "sample" / "LEADERBOARD.md").read_text()
    assert "15 passed" in start("pytest", "-p", "no:cacheprovider", "-q", "test_own_lengths.py")
    start("pairrank", "simulate", "new", "--train", "20", "--test", "9")
    predict = ("pairrank", "predict", "own_lengths", "new/test.csv", "--out", "new.csv")
    assert "Traceback" not in start(*predict, code=2)
    start(*predict, "--plugin", "own_lengths.py")
    assert len(read_predictions(tmp_path / "new.csv")) == 9
