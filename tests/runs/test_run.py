"""A run builds on others without a leak: what it is told of a battle comes from models that never saw its fold."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.data.folds import assign_folds
from pairrank.data.predictions import Predictions, geometric_mean, read_predictions
from pairrank.data.reading import write_battles
from pairrank.errors import UserError
from pairrank.runs import cross_validation, run
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.fold import save_fold
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.run import all_inputs, is_reusable, resolve_run
from tests.support.battles import tiny_battles, write_folder
from tests.support.examples import example


@pytest.fixture
def here(tmp_path, add_model, monkeypatch):
    """A folder with experiments: `memory` learns prompts by heart, `echo` says what its first input says."""
    add_model("memory")
    add_model("echo")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "memory", '[model]\nname = "memory"')
    write(tmp_path, "frequencies", '[model]\nname = "prior"')
    write(tmp_path, "echo", 'inputs = ["memory", "frequencies"]\n[model]\nname = "echo"')
    write(tmp_path, "twice", 'inputs = ["echo", "memory"]\n[model]\nname = "echo"')
    write_folder(tmp_path / "data")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / "experiments").mkdir(exist_ok=True)
    (folder / "experiments" / f"{name}.toml").write_text(text, encoding="utf-8")


def a_run(here, name="echo", folder="data", **options):
    return resolve_run(load_experiment(name, **options), DataFolder(here / folder), here / "runs")


def complaint(call) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


def fits(folder: Path) -> list[tuple[str, list[str]]]:
    """(fold folder, ids trained on) of every training of a memory there has been."""
    return [tuple(json.loads(line)) for line in (folder / "fits.txt").read_text().splitlines()]


def seen_by_echo(run, fold: int) -> dict[str, list]:
    """The inputs of each training battle of a fold, as the model got them."""
    return json.loads((run.folder / f"fold{fold}" / "told.json").read_text())


def test_training_battles_carry_what_their_inputs_say_out_of_fold(here):
    run = a_run(here)
    cross_validate(run)
    memory, frequencies = (read_predictions(here / "runs" / name / "oof.csv") for name in ("memory", "frequencies"))
    for fold in range(5):
        rows = run.battles.take(run.fold_index != fold)
        told = seen_by_echo(run, fold)
        assert list(told) == rows.id.tolist()
        for column, each in enumerate((memory, frequencies)):
            expected = each.align(rows.id).proba
            assert np.array_equal([told[name][column] for name in rows.id], expected)
    # A memory that is asked out of fold knows nothing, so an echo of it says a third each.
    assert np.allclose(read_predictions(run.folder / "oof.csv").proba, 1 / 3)


def test_test_battles_are_told_by_the_models_of_the_same_fold(here):
    run = a_run(here)
    cross_validate(run)
    for fold in range(5):
        kept = (here / "runs" / name / "test" / f"fold{fold}.csv" for name in ("echo", "memory"))
        ours, theirs = map(read_predictions, kept)
        assert np.array_equal(ours.proba, theirs.proba)
    assert len({(here / f"runs/echo/test/fold{k}.csv").read_text() for k in range(5)}) > 1


def test_missing_inputs_are_made_first_and_finished_ones_used(here, add_model, log_lines):
    run = a_run(here, "twice")
    assert [each.experiment.name for each in all_inputs(run)] == ["memory", "frequencies", "echo"]
    cross_validate(run)
    trained = [line.split(",")[0] for line in log_lines if "training on" in line]
    assert list(dict.fromkeys(trained)) == ["memory", "frequencies", "echo", "twice"]
    assert len(trained) == 20
    assert is_reusable(a_run(here, "twice"))
    # Another version of the code makes no input stale, until that input itself is run.
    add_model("memory", example("memory").replace("len(train) / 1e4", "len(train) / 2e4"))
    cross_validate(a_run(here, "twice"))
    assert len(fits(here / "runs" / "memory")) == 5


def test_a_partial_input_is_completed(here):
    cross_validate(a_run(here, "memory"), [2])
    assert not is_reusable(a_run(here, "memory"))
    cross_validate(a_run(here))
    assert sorted(name for name, _ in fits(here / "runs" / "memory")) == [f"fold{k}" for k in range(5)]


@pytest.mark.parametrize("damage", ["metrics.json", "oof.csv", "test/fold3.csv", "fold1/fold.json"])
def test_a_damaged_input_is_not_ready(here, damage):
    cross_validate(a_run(here))
    assert is_reusable(a_run(here))
    (here / "runs" / "memory" / damage).write_text("cut off")
    assert not is_reusable(a_run(here))


def test_an_input_with_another_parameter_or_test_file_is_not_ready(here):
    cross_validate(a_run(here))
    write(here, "memory", '[model]\nname = "memory"\nsureness = 0.8')
    assert not is_reusable(a_run(here))
    write(here, "memory", '[model]\nname = "memory"')
    assert is_reusable(a_run(here))
    write_battles(tiny_battles(4, first=7000, word="test", labelled=False), here / "data" / "test.csv")
    assert not is_reusable(a_run(here))
    cross_validate(a_run(here))
    assert is_reusable(a_run(here))
    assert len(fits(here / "runs" / "memory")) == 5


def test_inputs_that_are_not_there_are_refused_with_the_command_that_makes_them(here):
    message = complaint(lambda: a_run(here).train)
    assert "memory: expected a complete run of memory on these battles and folds" in message
    assert f"run memory --data {here / 'data'} --runs {here / 'runs'}" in message


def test_inputs_of_other_data_are_refused(here):
    cross_validate(a_run(here, "memory"))
    write_folder(here / "other", n=20)
    message = complaint(lambda: cross_validate(a_run(here, folder="other")))
    assert "holds a run on other battles" in message
    assert "--runs" in message


def test_a_battle_that_an_input_lacks_is_named(here):
    cross_validate(a_run(here, "memory"))
    cross_validate(a_run(here, "frequencies"))
    whole = read_predictions(here / "runs/memory/test/fold0.csv")
    Predictions(whole.id[1:], whole.proba[1:]).write(here / "runs/memory/test/fold0.csv")
    message = complaint(lambda: a_run(here).test_in(0))
    assert whole.id[0] in message
    assert "memory" in message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("mine", 'inputs = ["memori"]', "mine builds on 'memori': no experiment is called 'memori'. Did you mean"),
        ("mine", 'inputs = ["mine"]', "mine: the inputs form a circle: mine → mine."),
        ("mine", 'inputs = ["yours"]', "mine: the inputs form a circle: mine → yours → mine."),
        ("mine", 'inputs = ["memory", "memory"]', "inputs: memory is named more than once"),
        ("mine", "inputs = [3]", "inputs: 3: expected the name of an experiment"),
        ("mine", 'inputs = "memory"', "inputs = 'memory': expected a list of experiments"),
        ("mine", 'inputs = ["memory"]\nextra = ["x.csv"]', "inputs and extra"),
        ("mine", 'inputs = ["diagnostic"]', "submittable = false"),
        ("mine", 'inputs = ["cut"]', "whose folds differ"),
        ("mine", 'teacher = "memory"', "the model does not learn from it"),
        ("names", "submittable = true", "the model reads names, which test battles lack"),
    ],
)
def test_inputs_that_cannot_be_meant_are_told_before_any_work(here, name, text, expected):
    write(here, "yours", 'inputs = ["mine"]\n[model]\nname = "echo"')
    write(here, "diagnostic", 'submittable = false\n[model]\nname = "prior"')
    write(here, "cut", '[model]\nname = "prior"\n[split]\nfolds = 4')
    write(here, name, f'{text}\n[model]\nname = "{"identity" if name == "names" else "echo"}"')
    assert expected in complaint(lambda: a_run(here, name))
    assert not (here / "runs").exists()


def test_a_diagnostic_may_build_on_a_diagnostic(here):
    write(here, "diagnostic", 'submittable = false\n[model]\nname = "prior"')
    write(here, "mine", 'submittable = false\ninputs = ["diagnostic"]\n[model]\nname = "echo"')
    assert a_run(here, "mine").inputs[0].experiment.name == "diagnostic"


def test_nested_without_inputs_and_two_teachers_are_refused(here):
    assert "no inputs to train again" in complaint(lambda: load_experiment("memory", nested=True))
    write(here, "mine", 'teacher = "memory"\nsoft_targets = "x.csv"\n[model]\nname = "frozen"\nhead = "difference"')
    assert "expected only one of them" in complaint(lambda: load_experiment("mine"))


def test_inputs_are_cut_as_the_experiment_is(here):
    run = a_run(here, salt="9", limit=30)
    assert [each.experiment.label for each in run.inputs] == [
        "memory+salt=9+limit=30",
        "frequencies+salt=9+limit=30",
    ]
    assert load_experiment("echo", nested=True).label == "echo+nested=true"


# What the leaks would look like


def test_an_input_whose_folds_differ_would_tell_the_winners(here, monkeypatch):
    """Planted: the input is cut by another salt, so its models have seen what is scored."""
    honest = cross_validate(a_run(here)).log_loss
    assert honest == pytest.approx(math.log(3), abs=1e-6)
    monkeypatch.setattr(run, "_resolve_input", lambda name, experiment, data, home, above: resolve_run(
        load_experiment(name, salt="other"), data, home
    ))  # fmt: skip
    monkeypatch.setattr(
        run,
        "assign_folds",
        lambda battles, k, salt: np.arange(len(battles)) % k if salt else assign_folds(battles, k),
    )
    planted = cross_validate(resolve_run(load_experiment("echo"), DataFolder(here / "data"), here / "planted"))
    assert planted.log_loss < honest - 0.5


def test_nested_inputs_have_seen_neither_the_battles_fold_nor_the_scored_one(here):
    run = a_run(here, nested=True)
    cross_validate(run)
    ids, member = run.battles.id, run.fold_index
    for fold in range(5):
        inner = fits(run.folder / "inner" / f"fold{fold}" / "memory")
        assert sorted(name for name, _ in inner) == sorted(f"fold{k}" for k in range(5) if k != fold)
        for name, learned in inner:
            assert set(learned) == set(ids[(member != fold) & (member != int(name[-1]))])
        told = read_predictions(run.folder / "inner" / f"fold{fold}" / "memory" / "oof.csv")
        rows = run.battles.take(member != fold)
        assert np.array_equal([seen_by_echo(run, fold)[i][0] for i in rows.id], told.align(rows.id).proba)


def test_a_finished_nested_run_is_used_again(here, log_lines):
    run = a_run(here, nested=True)
    cross_validate(run)
    before = len(fits(run.folder / "inner" / "fold0" / "memory"))
    log_lines.clear()
    cross_validate(a_run(here, nested=True))
    assert all("used again" in line for line in log_lines)
    assert len(fits(run.folder / "inner" / "fold0" / "memory")) == before


def test_a_teacher_is_remade_inside_the_training_battles(here):
    write(here, "taught", 'teacher = "memory"\n[model]\nname = "memory"\nsoft_targets = true')
    run = a_run(here, "taught")
    cross_validate(run, [1])
    inner = run.folder / "inner" / "fold1" / "memory"
    scored = set(run.battles.id[run.fold_index == 1])
    assert all(not scored & set(learned) for _, learned in fits(inner))
    soft = json.loads((run.folder / "soft.json").read_text())
    told = read_predictions(inner / "oof.csv")
    assert soft == dict(zip(told.id, told.proba.tolist(), strict=True))
    assert set(soft) == set(run.battles.id) - scored


def test_a_run_is_as_symmetric_as_what_it_builds_on(here):
    metrics = cross_validate(a_run(here))
    assert metrics.symmetric is False  # memory says so
    assert metrics.swap_gap == pytest.approx(0, abs=1e-8)  # asked out of fold it knows nothing
    write(here, "echo", 'inputs = ["frequencies"]\n[model]\nname = "echo"')
    swapped = cross_validate(resolve_run(load_experiment("echo"), DataFolder(here / "data"), here / "again"))
    frequencies = json.loads((here / "again/frequencies/metrics.json").read_text())
    assert swapped.swap_gap == pytest.approx(frequencies["swap_gap"])
    assert frequencies["swap_gap"] > 0


def inner_fits(run, fold: int) -> int:
    return len(fits(run.folder / "inner" / f"fold{fold}" / "memory"))


def test_inputs_made_inside_a_fold_are_made_anew_when_their_code_changes(here, add_model):
    """Otherwise the columns of training battles would come from other models than those of the scored ones."""
    run = a_run(here, nested=True)
    cross_validate(run, [0])
    add_model("memory", example("memory").replace("len(train) / 1e4", "len(train) / 2e4"))
    cross_validate(a_run(here, "memory"))
    cross_validate(a_run(here, nested=True), [0])
    assert inner_fits(run, 0) == 8
    assert len(fits(here / "runs" / "memory")) == 10


def test_other_folds_than_before_make_what_is_inside_a_fold_anew(here):
    cross_validate(a_run(here, nested=True), [0])
    for name in ("memory", "frequencies"):
        write(here, name, f'[model]\nname = "{"prior" if name == "frequencies" else name}"\n[split]\nfolds = 4')
    write(here, "echo", 'inputs = ["memory", "frequencies"]\n[model]\nname = "echo"\n[split]\nfolds = 4')
    run = a_run(here, nested=True)
    cross_validate(run, [0])
    assert set(seen_by_echo(run, 0)) == set(run.battles.id[run.fold_index != 0])


@pytest.mark.parametrize("kind", ["teacher", "nested"])
def test_another_test_file_makes_what_extra_battles_taught_inside_a_fold_anew(here, kind):
    """A prompt of the new test file may have reached training by way of a teacher's or an input's extra battles."""
    write_battles(tiny_battles(10, first=300, word="more"), here / "more.csv")
    write(here, "memory", 'extra = ["more.csv"]\n[model]\nname = "memory"')
    write(here, "taught", 'teacher = "memory"\n[model]\nname = "memory"\nsoft_targets = true')
    name, options = ("taught", {}) if kind == "teacher" else ("echo", {"nested": True})
    run = a_run(here, name, **options)
    cross_validate(run, [0])
    assert inner_fits(run, 0) == 4
    write_battles(tiny_battles(10, first=300, word="more", labelled=False), here / "data" / "test.csv")
    cross_validate(a_run(here, name, **options), [0])
    assert inner_fits(run, 0) == 8
    told = [set(learned) for _, learned in fits(run.folder / "inner" / "fold0" / "memory")]
    assert all(any(i.startswith("more/") for i in learned) for learned in told[:4])
    assert not any(i.startswith("more/") for learned in told[4:] for i in learned)


def test_an_input_that_was_begun_again_and_not_finished_is_not_reusable(here, monkeypatch):
    """Its folds are of two configurations: the out-of-fold file is of one, a test prediction of the other."""
    cross_validate(a_run(here))
    write(here, "memory", '[model]\nname = "memory"\nsureness = 0.8')

    def save_and_be_killed(task, outputs):
        save_fold(task, outputs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "save_fold", save_and_be_killed)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(a_run(here, "memory"))
    write(here, "memory", '[model]\nname = "memory"')
    assert not is_reusable(a_run(here))
    cross_validate(a_run(here))
    assert is_reusable(a_run(here))


@pytest.mark.parametrize("content", ["{}", '{"data": {}, "folds": []}', "[]", '{"data": {"hash": "x"}}'])
def test_a_record_that_is_none_of_ours_is_not_ready(here, content):
    cross_validate(a_run(here, "memory"))
    (here / "runs" / "memory" / "metrics.json").write_text(content)
    assert not is_reusable(a_run(here, "memory"))


def test_a_stack_that_learns_from_inputs_of_whole_folds_says_what_that_means(here):
    text = 'inputs = ["frequencies"]\n[model]\nname = "{}"\n'
    write(here, "learns", text.format("gbdt") + 'learner = "multinomial"\ngroups = ["length"]')
    write(here, "equal", text.format("pool"))
    for name, nested, warned in (("learns", False, True), ("learns", True, False), ("equal", False, False)):
        metrics = cross_validate(a_run(here, name, nested=nested))
        assert any("nested = true" in warning for warning in metrics.warnings) == warned, (name, nested)


def test_published_predictions_of_these_very_battles_are_no_teacher(here):
    cross_validate(a_run(here, "memory"))
    published = here / "benchmarks" / "predictions" / "data" / "memory.csv"
    read_predictions(here / "runs/memory/oof.csv").write(published)
    results = here / "benchmarks" / "results" / "data" / "memory.json"
    results.parent.mkdir(parents=True)
    results.write_text((here / "runs/memory/metrics.json").read_text())
    experiment = replace(load_experiment("memory"), soft_targets=str(published))
    message = complaint(lambda: resolve_run(experiment, DataFolder(here / "data"), here / "taught").train)
    assert "were trained on the winners of the scored fold" in message


def test_a_run_costs_what_all_it_builds_on_costs_each_once(here):
    whole = cross_validate(a_run(here, "twice"))
    parts = [
        json.loads((here / "runs" / n / "metrics.json").read_text()) for n in ("memory", "frequencies", "echo")
    ]
    seconds = [part.get("alone", part)["training_seconds"] for part in parts]
    assert whole.training_seconds == pytest.approx(whole.alone.training_seconds + sum(seconds))
    assert whole.parameters == sum(part.get("alone", part)["parameters"] for part in parts)
    assert whole.battles_per_second is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'inputs = ["memory"]\n[model]\nname = "kernel"',
            "'kernel' does not read predictions of other experiments",
        ),
        ('[model]\nname = "pool"', "'pool' needs some"),
    ],
)
def test_inputs_that_nobody_reads_or_that_lack_are_told(here, text, expected):
    write(here, "mine", text)
    assert expected in complaint(lambda: a_run(here, "mine"))


# New battles


def test_new_battles_go_through_the_whole_graph(here):
    cross_validate(a_run(here, "twice"))
    test = DataFolder(here / "data").test
    assert test is not None
    models = load_fold_models(here / "runs" / "twice")
    kept = read_predictions(here / "runs" / "twice" / "test.csv")
    assert np.allclose(models.predict(test).proba, kept.proba, atol=1e-8)
    # An echo of an echo of a memory: the mean over its fold models.
    folds = [read_predictions(here / f"runs/memory/test/fold{k}.csv") for k in range(5)]
    assert np.allclose(kept.proba, geometric_mean(folds).proba, atol=1e-8)
    backwards = test.take(np.arange(len(test))[::-1])
    assert np.array_equal(models.predict(backwards).proba, models.predict(test).proba[::-1])


def test_an_input_that_was_made_anew_is_refused_until_the_run_is_too(here):
    cross_validate(a_run(here))
    write(here, "memory", '[model]\nname = "memory"\nsureness = 0.8')
    changed = a_run(here, "memory")
    cross_validate(changed)
    metrics = json.loads((changed.folder / "metrics.json").read_text())
    (changed.folder / "metrics.json").write_text(json.dumps(metrics | {"predictions": "others"}))
    message = complaint(lambda: load_fold_models(here / "runs" / "echo"))
    assert "was made with other predictions of memory than" in message


def test_an_input_that_is_gone_is_told(here):
    cross_validate(a_run(here))
    (here / "runs" / "memory" / "metrics.json").unlink()
    assert "memory: no finished run" in complaint(lambda: load_fold_models(here / "runs" / "echo"))


def test_soft_targets_of_these_very_battles_are_refused(here):
    cross_validate(a_run(here, "memory"))
    experiment = replace(load_experiment("memory"), soft_targets=str(here / "runs/memory/oof.csv"))
    message = complaint(lambda: resolve_run(experiment, DataFolder(here / "data"), here / "taught").train)
    assert "were trained on the winners of the scored fold" in message
