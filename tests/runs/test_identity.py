"""The identity of a fold changes with what its result depends on, and with nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from pairrank.data.folder import DataFolder
from pairrank.runs import provenance
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.identity import identity_of
from pairrank.runs.run import Run
from tests.support.battles import extra_source, tiny_battles, write_folder
from tests.support.own_code import write_model
from tests.support.runs import PRIOR, fits, run_on, run_with_extra, write_toml


def identity(data, experiment=PRIOR, **parts):
    return identity_of(Run(replace(experiment, **parts), DataFolder(data.path), data.path / "no-run"))


def test_another_encoder_or_other_battles_change_the_identity(data, tmp_path):
    one, other = (Run(PRIOR, DataFolder(data.path), data.path, encoder_sha256=sha256) for sha256 in "12")
    assert identity_of(one) != identity_of(other)
    assert identity(DataFolder(write_folder(tmp_path / "other", n=20))) != identity(data)


@pytest.mark.parametrize("change", [{"folds": 4}, {"salt": "1"}, {"limit": 9}, {"parameters": {"smoothing": 2.0}}])
def test_split_and_parameters_are_part_of_the_identity(data, change):
    assert identity(data, **change) != identity(data)


def test_name_and_description_are_not_part_of_the_identity(data):
    assert identity(data, name="other", about="another sentence", submittable=False, seconds=9.0) == identity(data)


def test_another_extra_file_or_weight_changes_the_identity(data: DataFolder, tmp_path: Path):
    more = extra_source(tmp_path, tiny_battles(4, first=300))
    first = cross_validate(run_with_extra(data, more)).identity
    assert cross_validate(run_with_extra(data, more)).identity == first
    assert len(fits(run_with_extra(data, more).folder)) == 5
    heavier = cross_validate(run_with_extra(data, replace(more, weight=0.75))).identity
    changed = cross_validate(run_with_extra(data, extra_source(tmp_path, tiny_battles(6, first=300)))).identity
    assert len({first, heavier, changed}) == 3
    assert len(fits(run_with_extra(data, more).folder)) == 15


# The code that makes a fold's training rows, whichever model learns from them: module -> a line of it, and another


ROWS_CODE = {
    "pairrank.runs.training_rows": ("return battles.take(~scored), ", "return battles.take(scored), "),
    "pairrank.data.extra": ("in_fold = ~in_test &", "in_fold ="),
    "pairrank.data.folds": ("% k", "% (k + 1)"),
    "pairrank.data.predictions": ("def align(self", "def align_(self"),
    "pairrank.data.battles": ("def concatenate(", "def concatenate_("),
}


@pytest.fixture
def change_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that replaces text in the source of a module, as far as `code_hash` reads it."""
    original = provenance._source

    def change(module: str, old: str, new: str, count: int = -1) -> None:
        text = original(module).read_text(encoding="utf-8")
        assert old in text
        copy = tmp_path / "changed.py"
        copy.write_text(text.replace(old, new, count), encoding="utf-8")
        monkeypatch.setattr(provenance, "_source", lambda name: copy if name == module else original(name))

    return change


@pytest.mark.parametrize("module", ROWS_CODE)
def test_the_code_that_makes_training_rows_is_part_of_the_identity(data, change_code, module):
    before = identity(data)
    change_code(module, *ROWS_CODE[module])
    assert identity(data) != before


@pytest.mark.parametrize("module", ROWS_CODE)
def test_comments_and_docstrings_of_that_code_are_not_part_of_the_identity(data, change_code, module):
    before = identity(data)
    change_code(module, "\n\n", "\n\n# A comment.\n", count=1)
    assert identity(data) == before
    change_code(module, '"""', '"""Another sentence. ', count=1)
    assert identity(data) == before


def test_a_finished_fold_is_trained_again_if_the_code_that_makes_its_rows_changes(
    data, tmp_path, finish, change_code
):
    run = finish(run_on(data, tmp_path))
    change_code("pairrank.data.folds", *ROWS_CODE["pairrank.data.folds"])
    cross_validate(run_on(data, tmp_path))
    assert len(fits(run.folder)) == 10


# Code of the user's own


def own_identity(data: DataFolder, folder: Path, **model) -> str:
    file = write_toml(folder, tomli_w.dumps({"model": model}))
    return identity_of(Run(load_experiment(file), DataFolder(data.path), data.path / "no-run"))


def test_a_file_of_ones_own_is_part_of_the_identity_without_its_comments_and_place(data, tmp_path):
    write_model(tmp_path / "mine.py")
    before = own_identity(data, tmp_path, name="./mine.py")
    write_model(tmp_path / "mine.py", ("class OwnModel", "# A comment.\nclass OwnModel"))
    assert own_identity(data, tmp_path, name="./mine.py:OwnModel") == before
    write_model(tmp_path / "mine.py", ("clip=3.0, odd=True", "clip=2.0, odd=True"))
    assert own_identity(data, tmp_path, name="./mine.py:OwnModel") != before
    write_model(tmp_path / "mine.py")
    assert own_identity(data, tmp_path, name="./mine.py:OwnModel") == before


def test_a_module_beside_the_file_is_part_of_the_identity(data, tmp_path, monkeypatch):
    name = f"beside_{tmp_path.name}"
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{name}.py").write_text("CLIP = 3.0")
    write_model(tmp_path / "mine.py", ("import json", f"import json\n\nimport {name}"))
    before = own_identity(data, tmp_path, name="./mine.py")
    (tmp_path / f"{name}.py").write_text("CLIP = 2.0")
    assert own_identity(data, tmp_path, name="./mine.py") != before


@pytest.mark.parametrize(
    "changed", ["__init__.py", "inner/__init__.py", "inner/module.py", "inner/helper.py", "other.py"]
)
def test_the_modules_of_a_package_of_ones_own_are_part_of_the_identity(data, tmp_path, monkeypatch, changed):
    """All that the model imports, relatively or by full name, and the packages around it; not what it does not."""
    package = tmp_path / "site" / (name := f"identity_{tmp_path.name}")
    imports = f"import json\nfrom . import helper\nfrom ..other import X\nimport {name}.inner.helper"
    write_model(package / "inner" / "module.py", ("import json", imports))
    for file in ("__init__.py", "inner/__init__.py", "inner/helper.py", "unused.py"):
        (package / file).write_text("")
    (package / "other.py").write_text("X = 1")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = own_identity(data, tmp_path, name=f"{name}.inner.module:OwnModel")
    (package / "unused.py").write_text("y = 1")
    assert own_identity(data, tmp_path, name=f"{name}.inner.module:OwnModel") == before
    with (package / changed).open("a") as file:
        file.write("\ny = 1\n")
    assert own_identity(data, tmp_path, name=f"{name}.inner.module:OwnModel") != before


def test_a_group_of_ones_own_is_part_of_the_identity(data, tmp_path):
    text = "def tempo(answer, prompt):\n    return {'x': 1.0}\n"
    (tmp_path / "mine.py").write_text(text)
    model = {"name": "structure", "groups": ["length", "./mine.py:tempo"]}
    before = own_identity(data, tmp_path, **model)
    (tmp_path / "mine.py").write_text(text.replace("1.0", "2.0"))
    assert own_identity(data, tmp_path, **model) != before
