"""The identity of a fold changes with what its result depends on, and with nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from pairrank.data.folder import DataFolder
from pairrank.runs import provenance
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.identity import identity_of
from pairrank.runs.run import Run
from tests.support.battles import extra_source, tiny_battles, write_folder
from tests.support.runs import PRIOR, fits, run_on, run_with_extra


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
