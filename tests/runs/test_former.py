"""Results that a changed run replaces are kept, and found again by every command that shows them."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pairrank.errors import UserError
from pairrank.evaluation.run_record import read_run_record
from pairrank.runs import former
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.former import builds_on, find_run, former_runs, keep_former
from tests.support.runs import MEMORY, load_run, run_on, untimed_files


@pytest.fixture
def changed():
    """The experiment `memory` with another parameter but the same name, as after a change of its file."""
    return replace(MEMORY, parameters={"sureness": 0.8, "seed": 0})


def test_results_of_another_identity_are_moved_as_they_were(data, tmp_path, finish, changed, log_lines):
    run = finish(run_on(data, tmp_path))
    before, loss = untimed_files(run), read_run_record(run.folder).log_loss
    cross_validate(run_on(data, tmp_path, changed))
    assert untimed_files(run) != before
    ((name, folder),) = former_runs(run.folder.parent).items()
    assert name.startswith("memory~20")
    assert untimed_files(replace(run, folder=folder)) == before
    assert read_run_record(folder).log_loss == loss
    assert any(f"are kept as {name}" in line for line in log_lines)
    cross_validate(run_on(data, tmp_path, changed))  # nothing has changed since
    assert list(former_runs(run.folder.parent)) == [name]


def test_former_results_of_the_same_date_are_all_kept(data, tmp_path, finish, changed):
    run = finish(run_on(data, tmp_path))
    for experiment in (changed, MEMORY, changed):
        os.utime(run.folder / "metrics.json", (0, 0))  # as a restored copy may have
        cross_validate(run_on(data, tmp_path, experiment))
    names = list(former_runs(run.folder.parent))
    assert names == [f"memory~1970-01-01T000000.000{number}" for number in ("", "-2", "-3")]


def test_results_whose_record_is_damaged_are_kept(data, tmp_path, finish, changed):
    run = finish(run_on(data, tmp_path))
    (run.folder / "metrics.json").write_text("{")
    predictions = (run.folder / "oof.csv").read_bytes()
    cross_validate(run_on(data, tmp_path))  # of the same identity
    assert former_runs(run.folder.parent) == {}
    (run.folder / "metrics.json").write_text("{")
    cross_validate(run_on(data, tmp_path, changed))
    (folder,) = former_runs(run.folder.parent).values()
    assert (folder / "oof.csv").read_bytes() == predictions


def test_an_interrupted_run_is_not_kept(data, tmp_path, finish, changed):
    run = finish(run_on(data, tmp_path))
    (run.folder / "metrics.json").unlink()
    cross_validate(run_on(data, tmp_path, changed))
    assert former_runs(run.folder.parent) == {}


@pytest.mark.parametrize("step", [1, 2])
def test_nothing_is_lost_if_it_is_killed_between_two_steps(data, tmp_path, finish, monkeypatch, changed, step):
    run = finish(run_on(data, tmp_path))
    (run.folder / "inner" / "fold0").mkdir(parents=True)
    before, calls = untimed_files(run), []
    rename = Path.rename

    def die(self, target):
        calls.append(self)
        if len(calls) == step:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            keep_former(run.folder, "another")
    whole = untimed_files(replace(run, folder=next(iter(former_runs(run.folder.parent).values()), run.folder)))
    assert whole == before
    cross_validate(run_on(data, tmp_path, changed))
    assert untimed_files(replace(run, folder=next(iter(former_runs(run.folder.parent).values())))) == before


def test_what_was_trained_inside_the_folds_stays_with_the_run(data, tmp_path, finish):
    run = finish(run_on(data, tmp_path))
    (run.folder / "inner" / "fold0").mkdir(parents=True)
    keep_former(run.folder, "another")
    assert [file.name for file in run.folder.iterdir()] == ["inner"]
    assert (run.folder / "inner" / "fold0").is_dir()


def test_a_run_is_found_by_its_name_and_a_former_one_by_its_date(data, tmp_path, finish):
    run = finish(run_on(data, tmp_path))
    home = run.folder.parent
    assert find_run("memory", home) == run.folder
    keep_former(run.folder, "another")
    ((name, folder),) = former_runs(home).items()
    assert find_run(name, home) == folder
    for wrong in ("memory", "history", "..", "../runs", "", ".", "memory~", "/x", "a/b"):
        with pytest.raises(UserError, match="no run of this name"):
            find_run(wrong, home)
    (home / "link").symlink_to(folder)
    with pytest.raises(UserError, match="this is a link to another folder"):
        find_run("link", home)


@pytest.mark.parametrize("link", ["history", "history/evil"])
def test_no_link_leads_to_a_run_outside_of_the_folder(data, tmp_path, finish, link):
    run = finish(run_on(data, tmp_path))
    outside = tmp_path / "outside" / "evil"
    shutil.copytree(run.folder, outside / "2026")
    place = run.folder.parent / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside.parent if link == "history" else outside)
    assert list(former_runs(run.folder.parent)) == ["evil~2026"]
    with pytest.raises(UserError, match="no run of this name"):
        find_run("evil~2026", run.folder.parent)
    (run.folder.parent / "evil").mkdir()
    shutil.copytree(run.folder, run.folder.parent / "evil", dirs_exist_ok=True)
    with pytest.raises(UserError, match="a link leads to another folder"):
        keep_former(run.folder.parent / "evil", "another")


def test_builds_on_names_the_runs_that_read_the_predictions_of_another(workspace, finish):
    finish(load_run(workspace, "twice"))
    assert builds_on(workspace / "runs", "memory") == ["echo", "twice"]
    assert builds_on(workspace / "runs", "twice") == []


def test_size_of_counts_the_bytes_of_all_files(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"12345")
    (tmp_path / "d").write_text(json.dumps(12))
    (tmp_path / "e").symlink_to(tmp_path / "a" / "b" / "c")
    assert former.size_of(tmp_path) == 7
