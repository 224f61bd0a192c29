"""Runs on subsets of the training battles: what is trained and scored in each fold, and in everything inside it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.folds import assign_folds, prompt_keys
from pairrank.data.predictions import read_predictions
from pairrank.evaluation.run_record import read_run_record
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.identity import identity_of
from pairrank.runs.run import is_reusable
from tests.support.runs import (
    MEMORY,
    complaint,
    fits,
    inputs_of_echo,
    load_run,
    run_on,
    untimed_files,
    write_experiment,
)


def trained_on(run) -> list[set[str]]:
    return [set(ids) for _, ids in fits(run.folder)]


def test_subsets_are_nested_have_whole_prompts_and_none_that_is_scored(data, tmp_path):
    runs = {}
    for size in (4, 10, 20, 0):
        overrides = (f"train_size={size}",) if size else ()
        runs[size] = run_on(data, tmp_path, replace(MEMORY, train_size=size, overrides=overrides))
        cross_validate(runs[size])
    key = dict(zip(data.train.id.tolist(), prompt_keys(data.train), strict=True))
    folds = assign_folds(data.train)
    for fold in range(5):
        subsets = {size: trained_on(run)[fold] for size, run in runs.items()}
        assert subsets[4] < subsets[10] < subsets[20] < subsets[0]
        scored = {key[name] for name in data.train.id[folds == fold]}
        for size, subset in subsets.items():
            assert not scored & {key[name] for name in subset}
            # Each prompt has two battles, which are used together.
            assert len(subset) == (size or (folds != fold).sum())
            assert len({key[name] for name in subset}) * 2 == len(subset)
    for run in runs.values():
        for fold in range(5):
            expected = data.train.id[folds == fold].tolist()
            assert read_predictions(run.folder / f"fold{fold}" / "oof.csv").id.tolist() == expected
    # Nothing but a leak would let a memory predict better than a third each.
    assert {round(read_run_record(run.folder).log_loss, 8) for run in runs.values()} == {round(np.log(3), 8)}


def test_samples_are_other_subsets_and_other_runs(data, tmp_path):
    runs = [
        run_on(data, tmp_path, replace(MEMORY, train_size=10, train_sample=i, overrides=(f"train_sample={i}",)))
        for i in (0, 1)
    ]
    for run in runs:
        cross_validate(run)
    assert trained_on(runs[0]) != trained_on(runs[1])
    whole = run_on(data, tmp_path)
    assert len({identity_of(run) for run in (*runs, whole)}) == 3


def test_inputs_are_cut_to_the_same_subset(workspace):
    run = load_run(workspace, train_size=10, train_sample=2)
    cross_validate(run)
    assert run.folder.name == "echo+train_size=10+train_sample=2"
    memory = run.inputs[0]
    assert memory.folder.name == "memory+train_size=10+train_sample=2"
    assert [set(inputs_of_echo(run, fold)) for fold in range(5)] == trained_on(memory)
    assert len(read_predictions(memory.folder / "oof.csv")) == 40


@pytest.mark.parametrize("kind", ["nested", "teacher"])
def test_training_battles_are_cut_before_what_is_trained_inside_a_fold(workspace, kind):
    write_experiment(workspace, "taught", 'teacher = "memory"\n[model]\nname = "memory"\nsoft_targets = true')
    name, options = ("taught", {}) if kind == "teacher" else ("echo", {"nested": True})
    run = load_run(workspace, name, train_size=16, **options)
    cross_validate(run)
    for fold in range(5):
        outer = set(inputs_of_echo(run, fold)) if kind == "nested" else trained_on(run)[fold]
        assert len(outer) == 16
        inner = [set(ids) for _, ids in fits(run.folder / "inner" / f"fold{fold}" / "memory+train_size=16")]
        assert inner
        assert all(ids < outer for ids in inner)
        # The inner folds divide the subset, which is not cut a second time.
        assert set().union(*inner) == outer


def test_a_subset_is_part_of_the_settings_and_its_absence_changes_no_identity(data, tmp_path):
    plain = run_on(data, tmp_path)
    assert "train_size" not in plain.settings["split"]
    cut = run_on(data, tmp_path, replace(MEMORY, train_size=10))
    assert cut.settings["split"]["train_size"] == 10
    # The same folder: a run of the whole training part is none of the subset, and the reverse.
    cross_validate(plain)
    assert is_reusable(plain)
    assert not is_reusable(cut)
    cross_validate(cut)
    assert is_reusable(cut)
    assert not is_reusable(run_on(data, tmp_path))


def test_test_battles_are_not_predicted_but_still_excluded_from_extra_battles(data, tmp_path):
    run = run_on(data, tmp_path, replace(MEMORY, train_size=10))
    cross_validate(run)
    assert not (run.folder / "test.csv").exists()
    assert not list(run.folder.glob("test/*"))
    assert run.test_prompts == run_on(data, tmp_path).test_prompts != frozenset()


def test_a_size_above_the_training_part_uses_all_of_it(data, tmp_path):
    large = run_on(data, tmp_path, replace(MEMORY, train_size=1000, overrides=("train_size=1000",)))
    cross_validate(large)
    assert trained_on(large) == [set(data.train.id[assign_folds(data.train) != fold]) for fold in range(5)]


def test_the_written_file_of_a_run_gives_the_same_subset(data, tmp_path):
    run = load_run(tmp_path, "prior", train_size=10, train_sample=1)
    cross_validate(run)
    again = load_run(tmp_path, str(run.folder / "experiment.toml"))
    assert identity_of(again) == identity_of(run)
    assert json.loads((run.folder / "metrics.json").read_text())["experiment"]["split"]["train_sample"] == 1


def test_a_killed_run_ends_with_the_files_of_an_undisturbed_one(data, tmp_path, monkeypatch):
    cut = replace(MEMORY, train_size=10)
    run = run_on(data, tmp_path, cut)
    cross_validate(run, folds=[0, 3])
    (run.folder / "fold3" / "fold.json").unlink()
    cross_validate(run_on(data, tmp_path, cut))
    undisturbed = run_on(data, tmp_path / "elsewhere", cut)
    cross_validate(undisturbed)
    assert untimed_files(run) == untimed_files(undisturbed)


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train_size = -1", "train_size = -1"), ("train_sample = 1", "no effect without train_size")],
)
def test_wrong_subsets_are_refused(workspace, split, expected):
    write_experiment(workspace, "cut", f'[model]\nname = "prior"\n[split]\n{split}')
    assert expected in complaint(lambda: load_run(workspace, "cut"))
