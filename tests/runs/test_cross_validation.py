"""Every battle is predicted by a model not trained on its prompt; finished work is used again and never mixed."""

import json
import math
import re
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import object_array
from pairrank.data.folder import DataFolder
from pairrank.data.folds import assign_folds
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from pairrank.evaluation.entries import entries_in
from pairrank.evaluation.run_record import find_run_record, read_run_record
from pairrank.runs import cross_validation, resolution, run
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.identity import identity_of
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run, all_inputs, is_reusable
from pairrank.training.tracking import track_with, tracker
from tests.support.battles import tiny_battles, write_folder
from tests.support.examples import example
from tests.support.runs import (
    MEMORY,
    PRIOR,
    complaint,
    expected_fold,
    fits,
    inner_fits,
    inputs_of_echo,
    load_run,
    remove_keys,
    run_on,
    untimed_files,
    write_experiment,
)


def test_every_battle_is_predicted_by_a_model_not_trained_on_its_prompt(data, tmp_path):
    run = run_on(data, tmp_path)
    record = cross_validate(run)
    # A model that was trained on a prompt predicts .9, any other a third each: any leak would lower the loss.
    assert record.log_loss == pytest.approx(math.log(3), abs=1e-8)
    battles = tiny_battles()
    fold = {i: expected_fold(p[0]) for i, p in zip(battles.id, battles.prompt, strict=True)}
    assert len(set(fold.values())) == 5
    assert [name for name, _ in fits(run.folder)] == [f"fold{k}" for k in range(5)]
    for k, (_, ids) in enumerate(fits(run.folder)):
        assert ids == [i for i in battles.id if fold[i] != k]
        assert read_predictions(run.folder / f"fold{k}" / "oof.csv").id.tolist() == [
            i for i in battles.id if fold[i] == k
        ]


def test_the_memory_would_score_better_if_folds_split_a_prompt(data, tmp_path, monkeypatch):
    by_row = lambda battles, k, salt: np.arange(len(battles)) % k  # noqa: E731
    monkeypatch.setattr(run, "assign_folds", by_row)
    assert cross_validate(run_on(data, tmp_path)).log_loss == pytest.approx(-math.log(0.9), abs=1e-8)


def test_a_salt_changes_the_folds(data, tmp_path):
    run = run_on(data, tmp_path, replace(PRIOR, salt="1", overrides=("salt=1",)))
    cross_validate(run)
    battles = tiny_battles()
    here = read_predictions(run.folder / "fold0" / "oof.csv").id.tolist()
    assert here == [i for i, p in zip(battles.id, battles.prompt, strict=True) if expected_fold(p[0], "1") == 0]


def test_finished_folds_are_used_again_and_logged_as_such(data, tmp_path, log_lines, finish):
    run = finish(run_on(data, tmp_path))
    before = untimed_files(run)
    log_lines.clear()
    cross_validate(run_on(data, tmp_path))
    assert len(fits(run.folder)) == 5
    assert [line for line in log_lines if "used again" in line] == log_lines
    assert len(log_lines) == 5
    assert untimed_files(run) == before


def test_folds_are_trained_again_if_parameters_split_code_or_soft_targets_change(data, tmp_path, add_model, finish):
    run = finish(run_on(data, tmp_path))
    changed = Run(replace(MEMORY, parameters={"sureness": 0.8, "seed": 0}), DataFolder(data.path), run.folder)
    cross_validate(changed)
    assert len(fits(run.folder)) == 10
    salted = replace(changed.experiment, salt="2")
    cross_validate(Run(salted, DataFolder(data.path), run.folder))
    assert len(fits(run.folder)) == 15
    add_model("memory", example("memory").replace("len(train) / 1e4", "len(train) / 2e4"))
    cross_validate(Run(salted, DataFolder(data.path), run.folder))
    assert len(fits(run.folder)) == 20
    comment = (
        example("memory")
        .replace("len(train) / 1e4", "len(train) / 2e4")
        .replace("# Next to", "# Beside")
        .replace("A model that profits", "One that profits")
    )
    add_model("memory", comment)
    cross_validate(Run(salted, DataFolder(data.path), run.folder))
    assert len(fits(run.folder)) == 20
    for shift in (0.0, 0.1):
        soft = np.tile([0.5 + shift, 0.3 - shift, 0.2], (40, 1))
        Predictions(tiny_battles().id, soft).write(tmp_path / "teacher.csv")
        taught = replace(salted, soft_targets=str(tmp_path / "teacher.csv"))
        cross_validate(Run(taught, DataFolder(data.path), run.folder))
        assert len(fits(run.folder)) == (25 if shift == 0 else 30)


def test_a_run_of_one_fold_is_completed_by_a_run_of_all(data, tmp_path, finish):
    run = run_on(data, tmp_path)
    record = cross_validate(run, folds=[1])
    battles = tiny_battles()
    in_1 = [i for i, p in zip(battles.id, battles.prompt, strict=True) if expected_fold(p[0]) == 1]
    assert record.folds == (1,)
    assert read_predictions(run.folder / "oof.csv").id.tolist() == in_1
    assert len(load_fold_models(run.folder).models) == 1
    record = cross_validate(run_on(data, tmp_path))
    assert record.folds == (0, 1, 2, 3, 4)
    assert [name for name, _ in fits(run.folder)] == ["fold1", "fold0", "fold2", "fold3", "fold4"]
    uninterrupted = finish(run_on(data, tmp_path / "elsewhere"))
    assert untimed_files(run) == untimed_files(uninterrupted)


def test_new_test_battles_are_predicted_by_the_saved_models(data, tmp_path, log_lines, finish):
    run = finish(run_on(data, tmp_path))
    write_battles(tiny_battles(9, first=7000, word="test", labelled=False), data.path / "test.csv")
    cross_validate(run_on(data, tmp_path))
    assert len(fits(run.folder)) == 5
    assert sum("new test battles" in line for line in log_lines) == 5
    assert len(read_predictions(run.folder / "test.csv")) == 9
    fresh = finish(run_on(data, tmp_path / "elsewhere"))
    assert untimed_files(run) == untimed_files(fresh)


def test_an_added_test_file_is_predicted_and_a_removed_one_leaves_no_predictions(data, tmp_path):
    (data.path / "test.csv").rename(data.path / "later.csv")
    run = run_on(data, tmp_path)
    cross_validate(run)
    assert not (run.folder / "test.csv").exists()
    (data.path / "later.csv").rename(data.path / "test.csv")
    cross_validate(run_on(data, tmp_path))
    assert len(read_predictions(run.folder / "test.csv")) == 6
    (data.path / "test.csv").unlink()
    cross_validate(run_on(data, tmp_path))
    assert not (run.folder / "test.csv").exists()
    assert len(fits(run.folder)) == 5


@pytest.mark.parametrize("where", ["fit", "predict_proba", "save"])
def test_a_run_killed_and_resumed_leaves_the_same_files_as_an_uninterrupted_one(
    data, tmp_path, monkeypatch, where, finish
):
    from pairrank.models.base import model_class

    uninterrupted = finish(run_on(data, tmp_path / "elsewhere"))
    memory = model_class("memory")
    original, calls = getattr(memory, where), []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *arguments)

    run = run_on(data, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(memory, where, killed)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(run)
    assert not (run.folder / "metrics.json").exists()
    cross_validate(run_on(data, tmp_path))
    assert untimed_files(run) == untimed_files(uninterrupted)


@pytest.mark.parametrize(
    ("file", "content", "trainings"),
    [
        ("fold2/fold.json", "{", 1),
        ("fold2/fold.json", "[1, 2]", 1),
        ("fold2/fold.json", '{"identity": "x"}', 1),
        ("fold2/fold.json", None, 1),
        ("fold2/oof.csv", "id,winner_model_a,winner_model_b,winner_tie\n", 1),
        ("fold2/oof.csv", None, 1),
        ("test/fold2.csv", "rubbish", 0),
        ("test/fold2.csv", None, 0),
        ("metrics.json", "{", 0),
        ("oof.csv", None, 0),
        ("test.csv", "rubbish", 0),
    ],
)
def test_a_damaged_or_missing_file_is_restored(data, tmp_path, file, content, trainings, finish):
    run = finish(run_on(data, tmp_path))
    before = untimed_files(run)
    if content is None:
        (run.folder / file).unlink()
    else:
        (run.folder / file).write_text(content)
    record = cross_validate(run_on(data, tmp_path))
    assert untimed_files(run) == before
    assert len(fits(run.folder)) == 5 + trainings
    assert read_run_record(run.folder) == record


def test_folds_without_battles_are_left_out_unless_no_other_was_chosen(tmp_path, add_model, log_lines):
    add_model("memory")
    data = DataFolder(write_folder(tmp_path / "data", n=6))
    filled = {expected_fold(p[0]) for p in tiny_battles(6).prompt}
    assert 1 < len(filled) < 5
    run = resolve_run(MEMORY, data, tmp_path / "runs")
    record = cross_validate(run)
    assert record.log_loss == pytest.approx(math.log(3))
    assert sum("no battle is in this fold" in line for line in log_lines) == 5 - len(filled)
    empty = min(set(range(5)) - filled)
    with pytest.raises(UserError, match=f"no battle is in fold {empty}, so there is nothing to score"):
        cross_validate(resolve_run(MEMORY, DataFolder(data.path), tmp_path / "alone"), folds=[empty])


def test_battles_of_a_single_prompt_are_refused(tmp_path):
    folder = write_folder(tmp_path / "data", n=4, tests=0)
    battles = tiny_battles(4)
    write_battles(replace(battles, prompt=object_array([("The same",)] * 4)), folder / "train.csv")
    with pytest.raises(UserError, match="all 4 battles are in this fold, so none are left to learn from"):
        cross_validate(resolve_run(PRIOR, DataFolder(folder), tmp_path / "runs"))


def test_repairs_of_the_test_file_are_logged(data, tmp_path, log_lines):
    with (data.path / "test.csv").open("a") as file:
        file.write('"77","no list","[""a""]","[""b""]"\n')
    run = run_on(data, tmp_path, PRIOR)
    cross_validate(run)
    assert "1 repairs in the test file; the first: id 77: prompt is not JSON" in log_lines[0]
    assert read_predictions(run.folder / "test.csv").id.tolist()[-1] == "77"


def test_repairs_of_a_test_file_are_logged_even_if_no_battle_is_left(data, tmp_path, log_lines):
    header = (data.path / "test.csv").read_text().splitlines()[0]
    (data.path / "test.csv").write_text(f"{header}\n{header}\n")
    cross_validate(run_on(data, tmp_path, PRIOR))
    assert "1 repairs in the test file" in log_lines[0]


def test_the_written_experiment_file_gives_the_same_identity(tmp_path, monkeypatch, log_lines):
    data = write_folder(tmp_path / "data")
    experiment = load_experiment("prior", ["smoothing=2"], salt="x", limit=30)
    run = resolve_run(experiment, DataFolder(data), tmp_path / "runs")
    first = cross_validate(run)
    again = load_experiment(str(run.folder / "experiment.toml"))
    assert again.label == experiment.label == "prior+smoothing=2+salt=x+limit=30"
    log_lines.clear()
    second = cross_validate(resolve_run(again, DataFolder(data), tmp_path / "runs"))
    assert second.identity == first.identity
    assert all("used again" in line for line in log_lines)
    monkeypatch.chdir(run.folder)
    assert load_experiment("experiment.toml").label == experiment.label


def test_missing_inputs_are_trained_first_and_finished_ones_used(workspace, add_model, log_lines):
    run = load_run(workspace, "twice")
    assert [each.experiment.name for each in all_inputs(run)] == ["memory", "frequencies", "echo"]
    cross_validate(run)
    trained = [line.split(",")[0] for line in log_lines if "training on" in line]
    assert list(dict.fromkeys(trained)) == ["memory", "frequencies", "echo", "twice"]
    assert len(trained) == 20
    assert is_reusable(load_run(workspace, "twice"))
    # A change of code does not make a finished input stale; only its own run trains it again.
    add_model("memory", example("memory").replace("len(train) / 1e4", "len(train) / 2e4"))
    cross_validate(load_run(workspace, "twice"))
    assert len(fits(workspace / "runs" / "memory")) == 5


def test_a_run_learns_from_what_its_inputs_predict_now(workspace, add_model, finish):
    """A plan reads the predictions of finished inputs before it trains some of these again."""
    run = finish(load_run(workspace))
    planned = identity_of(run)
    add_model("memory", example("memory").replace("[1 / 3, 1 / 3, 1 / 3]", "[0.5, 0.3, 0.2]"))
    cross_validate(run.inputs[0])
    record = cross_validate(run)
    assert record.identity != planned
    memory = read_predictions(workspace / "runs" / "memory" / "oof.csv")
    assert np.allclose(memory.proba, [0.5, 0.3, 0.2])
    # An echo predicts what a memory predicts.
    assert np.array_equal(read_predictions(run.folder / "oof.csv").proba, memory.proba)
    given = inputs_of_echo(run, 0)
    assert [given[i][0] for i in given] == memory.align(list(given)).proba.tolist()


def test_an_input_with_missing_folds_is_completed(workspace):
    cross_validate(load_run(workspace, "memory"), [2])
    assert not is_reusable(load_run(workspace, "memory"))
    cross_validate(load_run(workspace))
    assert sorted(name for name, _ in fits(workspace / "runs" / "memory")) == [f"fold{k}" for k in range(5)]


def test_inputs_on_other_battles_are_refused(workspace, finish):
    finish(load_run(workspace, "memory"))
    write_folder(workspace / "other", n=20)
    message = complaint(lambda: cross_validate(load_run(workspace, data="other")))
    assert "a run on other battles" in message
    assert "--runs" in message


def test_an_input_with_other_folds_would_leak_the_winners(workspace, monkeypatch, finish):
    """The input is split with another salt, so its models were trained on scored battles."""
    honest = read_run_record(finish(load_run(workspace)).folder).log_loss
    assert honest == pytest.approx(math.log(3), abs=1e-6)
    monkeypatch.setattr(resolution, "_resolve_input", lambda name, experiment, data, home, above: resolve_run(
        load_experiment(name, salt="other"), data, home
    ))  # fmt: skip
    monkeypatch.setattr(
        run,
        "assign_folds",
        lambda battles, k, salt: np.arange(len(battles)) % k if salt else assign_folds(battles, k),
    )
    data = DataFolder(workspace / "data")
    leaking = cross_validate(resolve_run(load_experiment("echo"), data, workspace / "leaking"))
    assert leaking.log_loss < honest - 0.5


def test_nested_inputs_are_trained_on_neither_the_predicted_fold_nor_the_scored_one(workspace, finish):
    run = finish(load_run(workspace, nested=True))
    ids, fold_index = run.battles.id, run.fold_index
    for fold in range(5):
        inner = inner_fits(run, fold)
        assert sorted(name for name, _ in inner) == sorted(f"fold{k}" for k in range(5) if k != fold)
        for name, learned in inner:
            assert set(learned) == set(ids[(fold_index != fold) & (fold_index != int(name[-1]))])
        given = read_predictions(run.folder / "inner" / f"fold{fold}" / "memory" / "oof.csv")
        rows = run.battles.take(fold_index != fold)
        assert np.array_equal([inputs_of_echo(run, fold)[i][0] for i in rows.id], given.align(rows.id).proba)


def test_a_finished_nested_run_is_used_again(workspace, log_lines, finish):
    run = finish(load_run(workspace, nested=True))
    before = len(inner_fits(run, 0))
    log_lines.clear()
    cross_validate(load_run(workspace, nested=True))
    assert all("used again" in line for line in log_lines)
    assert len(inner_fits(run, 0)) == before


def test_a_teacher_is_trained_on_the_training_battles_of_the_fold_alone(workspace):
    write_experiment(workspace, "taught", 'teacher = "memory"\n[model]\nname = "memory"\nsoft_targets = true')
    run = load_run(workspace, "taught")
    cross_validate(run, [1])
    inner = run.folder / "inner" / "fold1" / "memory"
    scored = set(run.battles.id[run.fold_index == 1])
    assert all(not scored & set(learned) for _, learned in fits(inner))
    soft = json.loads((run.folder / "soft.json").read_text())
    given = read_predictions(inner / "oof.csv")
    assert soft == dict(zip(given.id, given.proba.tolist(), strict=True))
    assert set(soft) == set(run.battles.id) - scored


def test_a_run_is_symmetric_only_if_its_inputs_are(workspace, finish):
    record = read_run_record(finish(load_run(workspace)).folder)
    assert record.symmetric is False  # memory is not
    assert record.swap_gap == pytest.approx(0, abs=1e-8)  # memory predicts a third each out of fold
    write_experiment(workspace, "echo", 'inputs = ["frequencies"]\n[model]\nname = "echo"')
    data = DataFolder(workspace / "data")
    swapped = cross_validate(resolve_run(load_experiment("echo"), data, workspace / "again"))
    frequencies = json.loads((workspace / "again/frequencies/metrics.json").read_text())
    assert swapped.swap_gap == pytest.approx(frequencies["swap_gap"])
    assert frequencies["swap_gap"] > 0


def test_inputs_inside_a_fold_are_trained_again_if_their_code_changes(workspace, add_model):
    """Otherwise training and scored battles would carry the predictions of different models."""
    run = load_run(workspace, nested=True)
    cross_validate(run, [0])
    add_model("memory", example("memory").replace("len(train) / 1e4", "len(train) / 2e4"))
    cross_validate(load_run(workspace, "memory"))
    cross_validate(load_run(workspace, nested=True), [0])
    assert len(inner_fits(run, 0)) == 8
    assert len(fits(workspace / "runs" / "memory")) == 10


def test_inputs_inside_a_fold_are_trained_again_if_the_folds_change(workspace):
    cross_validate(load_run(workspace, nested=True), [0])
    for file in (workspace / "experiments").iterdir():
        file.write_text(file.read_text() + "\n[split]\nfolds = 4")
    run = load_run(workspace, nested=True)
    cross_validate(run, [0])
    assert set(inputs_of_echo(run, 0)) == set(run.battles.id[run.fold_index != 0])


@pytest.mark.parametrize("kind", ["teacher", "nested"])
def test_models_with_extra_battles_inside_a_fold_are_trained_again_if_the_test_file_changes(workspace, kind):
    """A prompt of the new test file may be among the extra battles of a teacher or an input."""
    write_battles(tiny_battles(10, first=300, word="more"), workspace / "more.csv")
    write_experiment(workspace, "memory", 'extra = ["more.csv"]\n[model]\nname = "memory"')
    write_experiment(workspace, "taught", 'teacher = "memory"\n[model]\nname = "memory"\nsoft_targets = true')
    name, options = ("taught", {}) if kind == "teacher" else ("echo", {"nested": True})
    run = load_run(workspace, name, **options)
    cross_validate(run, [0])
    assert len(inner_fits(run, 0)) == 4
    write_battles(tiny_battles(10, first=300, word="more", labelled=False), workspace / "data" / "test.csv")
    cross_validate(load_run(workspace, name, **options), [0])
    assert len(inner_fits(run, 0)) == 8
    trainings = [set(learned) for _, learned in inner_fits(run, 0)]
    assert all(any(i.startswith("more/") for i in learned) for learned in trainings[:4])
    assert not any(i.startswith("more/") for learned in trainings[4:] for i in learned)


def test_a_model_that_learns_from_inputs_warns_unless_they_are_nested(workspace):
    text = 'inputs = ["frequencies"]\n[model]\nname = "{}"\n'
    write_experiment(workspace, "learns", text.format("gbdt") + 'learner = "multinomial"\ngroups = ["length"]')
    write_experiment(workspace, "equal", text.format("pool"))
    for name, nested, warned in (("learns", False, True), ("learns", True, False), ("equal", False, False)):
        record = cross_validate(load_run(workspace, name, nested=nested))
        assert any("nested = true" in warning for warning in record.warnings) == warned, (name, nested)


@pytest.mark.parametrize("lacking", [("version",), ("version", "flip_rate", "extra")])
def test_finished_folds_of_an_earlier_version_are_used_again(data, tmp_path, finish, lacking):
    """Their records have no version, and lack what that version did not measure."""
    run = finish(run_on(data, tmp_path))
    before = read_run_record(run.folder)
    for file in run.folder.glob("fold*/*.json"):
        if file.name in ("fold.json", "started.json"):
            remove_keys(file, *lacking)
    remove_keys(run.folder / "metrics.json", *lacking)
    record = cross_validate(run_on(data, tmp_path))
    assert len(fits(run.folder)) == 5
    flip_rate = None if "flip_rate" in lacking else before.flip_rate
    assert replace(before, flip_rate=flip_rate) == record == read_run_record(run.folder)


def test_folds_of_an_earlier_version_and_new_ones_make_one_run(data, tmp_path, finish):
    run = finish(run_on(data, tmp_path))
    remove_keys(run.folder / "fold1" / "fold.json", "version", "flip_rate", "extra")
    (run.folder / "fold3" / "fold.json").unlink()
    record = cross_validate(run_on(data, tmp_path))
    assert [name for name, _ in fits(run.folder)][5:] == ["fold3"]
    assert record.folds == (0, 1, 2, 3, 4)
    assert record.flip_rate is None
    assert record.log_loss == pytest.approx(math.log(3), abs=1e-8)


@pytest.mark.parametrize("file", ["metrics.json", "fold2/fold.json"])
def test_inputs_of_an_earlier_version_are_used(workspace, finish, file):
    run = finish(load_run(workspace))
    remove_keys(workspace / "runs" / "memory" / file, "version", "flip_rate", "extra")
    assert is_reusable(load_run(workspace))
    assert cross_validate(load_run(workspace)).identity == read_run_record(run.folder).identity
    assert len(fits(workspace / "runs" / "memory")) == 5


def test_runs_inside_a_fold_are_not_tracked(workspace, monkeypatch):
    tracked_by = {}

    @contextmanager
    def record(name, settings, runs):
        tracked_by[name] = tracker()
        yield lambda numbers: None

    monkeypatch.setattr(cross_validation, "tracked", record)
    context = copy_context()
    context.run(track_with, "tensorboard")
    context.run(cross_validate, load_run(workspace, nested=True), [0])
    inside = {name: by for name, by in tracked_by.items() if "(inside " in name}
    assert len(inside) == 8  # two inputs, four folds each
    assert set(inside.values()) == {None}
    assert {by for name, by in tracked_by.items() if name not in inside} == {"tensorboard"}


# --- Damaged files

SMALL_STRUCTURE = {"seeds": 1, "rounds": 5, "tie_rounds": 5}
EXAMINED = {
    "memory": MEMORY,
    "structure": Experiment("structure", "counted features", "structure", SMALL_STRUCTURE),
    "identity": Experiment("identity", "names", "identity", {}, submittable=False),
}


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(each, marks=[pytest.mark.slow] * (name != "memory")) for name, each in EXAMINED.items()],
    ids=EXAMINED,
)
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-2] + b"7\n"])
def test_every_damaged_file_of_a_finished_run_is_made_again(data, tmp_path, finish, experiment, damage):
    """Of files that each fold has, one is damaged: the first kind of fold 0, the second of fold 1, and so on."""
    run = finish(run_on(data, tmp_path, experiment))
    whole = untimed_files(run)
    files = [file for file in sorted(run.folder.rglob("*")) if file.is_file() and file.name != "fits.txt"]
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(re.sub("fold[0-4]", "fold", str(file.relative_to(run.folder))), []).append(file)
    assert {len(alike) for alike in kinds.values()} == {1, 5}
    for file in [alike[i % len(alike)] for i, alike in enumerate(kinds.values())]:
        file.write_bytes(damage(file.read_bytes()))
        cross_validate(run_on(data, tmp_path, experiment))
        assert untimed_files(run) == whole, file
        assert read_run_record(run.folder).log_loss is not None
        assert find_run_record(run.folder) is not None


def test_only_the_damaged_fold_is_trained_again(data, tmp_path, finish, log_lines):
    run = finish(run_on(data, tmp_path))
    before = len(fits(run.folder))
    (run.folder / "fold2" / "memory.json").write_text("{}")
    cross_validate(run_on(data, tmp_path))
    assert [Path(place).name for place, _ in fits(run.folder)[before:]] == ["fold2"]
    assert any("fold 2: memory.json is missing or damaged" in line for line in log_lines)


def test_models_that_were_swapped_between_folds_are_trained_again(data, tmp_path, finish):
    run = finish(run_on(data, tmp_path))
    whole, before = untimed_files(run), len(fits(run.folder))
    for name in ("memory.json", "model.json"):
        one, other = run.folder / "fold1" / name, run.folder / "fold2" / name
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    cross_validate(run_on(data, tmp_path))
    assert untimed_files(run) == whole
    assert [Path(place).name for place, _ in fits(run.folder)[before:]] == ["fold1", "fold2"]


@pytest.mark.parametrize("as_before", [False, True])
def test_a_fold_that_is_a_copy_of_another_fold_is_trained_again(data, tmp_path, finish, as_before):
    run = finish(run_on(data, tmp_path))
    whole, before = untimed_files(run), len(fits(run.folder))
    if as_before:  # a record of an earlier version has no number of its fold, and no hashes
        for file in run.folder.glob("fold*/fold.json"):
            record = json.loads(file.read_text())
            file.write_text(json.dumps(record | {"fold": None, "files": {}, "test_file": ""}))
    folders = [run.folder / "fold1", run.folder / "fold2", run.folder / "aside"]
    for source, target in ((0, 2), (1, 0), (2, 1)):
        folders[source].rename(folders[target])
    cross_validate(run_on(data, tmp_path))
    assert [Path(place).name for place, _ in fits(run.folder)[before:]] == ["fold1", "fold2"]
    assert untimed_files(run).keys() == whole.keys()
    assert (run.folder / "oof.csv").read_bytes() == whole["oof.csv"]


def test_altered_test_predictions_are_never_used(data, tmp_path, finish):
    run = finish(run_on(data, tmp_path))
    whole = (run.folder / "test.csv").read_bytes()
    file = run.folder / "test" / "fold1.csv"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([rows[0], *(f"{row.split(',')[0]},0.8,0.1,0.1" for row in rows[1:])]) + "\n")
    altered = file.read_bytes()
    cross_validate(run_on(data, tmp_path), [0])  # fold 1 is not even looked at
    assert not (run.folder / "test.csv").exists()
    cross_validate(run_on(data, tmp_path))
    assert (run.folder / "test.csv").read_bytes() == whole
    (run.folder / "test.csv").write_bytes(altered)
    assert entries_in(run.folder.parent, run.battles) == []


def test_results_are_not_written_through_a_link_to_a_device(data, tmp_path, finish, log_lines):
    run = finish(run_on(data, tmp_path))
    whole = untimed_files(run)
    for name in ("metrics.json", "oof.csv", "test/fold1.csv"):
        (run.folder / name).unlink()
        (run.folder / name).symlink_to("/dev/zero")
    cross_validate(run_on(data, tmp_path))
    assert untimed_files(run) == whole
    assert not [file for file in run.folder.rglob("*") if file.is_symlink()]
    assert sum("a link that leads to no file; removed" in line for line in log_lines) == 3


def test_predictions_of_an_input_that_were_altered_are_never_learned_from(workspace, finish):
    finish(load_run(workspace, "echo"))
    oof = workspace / "runs" / "memory" / "oof.csv"
    altered = oof.read_text().replace("0.333333333,0.333333333", "0.4,0.266666666")
    oof.write_text(altered)
    assert not is_reusable(load_run(workspace, "memory"))
    cross_validate(load_run(workspace, "echo"))
    assert oof.read_text() != altered
