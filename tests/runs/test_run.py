"""A run is settled once: its battles, soft targets, inputs and teacher are resolved, checked and reused."""

import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from pairrank.runs import cross_validation, experiment_files
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment_files import load_experiment
from pairrank.runs.fold import save_fold
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import _differs, is_reusable
from tests.support.architectures import write_checkpoint
from tests.support.battles import tiny_battles
from tests.support.runs import (
    MEMORY,
    complaint,
    fits,
    load_run,
    run_on,
    write_experiment,
)


def test_soft_targets_are_aligned_by_id(data, tmp_path):
    battles = tiny_battles()
    soft = np.random.default_rng(0).dirichlet([1, 1, 1], 40).round(3)
    soft[:, 2] = 1 - soft[:, 0] - soft[:, 1]
    order = np.random.default_rng(1).permutation(40)
    Predictions(battles.id[order], soft[order]).write(tmp_path / "teacher.csv")
    run = run_on(data, tmp_path, replace(MEMORY, soft_targets=str(tmp_path / "teacher.csv")))
    cross_validate(run)
    given = json.loads((run.folder / "soft.json").read_text())
    for name, row in given.items():
        np.testing.assert_allclose(row, soft[battles.id.tolist().index(name)], atol=1e-8)
    # Scored on the winners all the same: the model knows no prompt of its fold.
    assert json.loads((run.folder / "metrics.json").read_text())["log_loss"] == pytest.approx(math.log(3))


def test_a_soft_target_file_that_lacks_a_battle_is_refused(data, tmp_path):
    Predictions(tiny_battles(39).id, np.full((39, 3), 1 / 3)).write(tmp_path / "teacher.csv")
    with pytest.raises(UserError, match=r"teacher\.csv: 1 complaint\n  - id 1039: no prediction"):
        cross_validate(run_on(data, tmp_path, replace(MEMORY, soft_targets=str(tmp_path / "teacher.csv"))))


def test_a_limit_uses_the_first_battles(data, tmp_path):
    run = run_on(data, tmp_path, replace(MEMORY, limit=12, overrides=("limit=12",)))
    record = cross_validate(run)
    assert record.data.battles == 12
    assert read_predictions(run.folder / "oof.csv").id.tolist() == tiny_battles(12).id.tolist()
    assert {i for _, ids in fits(run.folder) for i in ids} == set(tiny_battles(12).id)
    assert run.folder.name == "memory+limit=12"


def test_an_empty_test_file_counts_as_none(data, tmp_path):
    (data.path / "test.csv").write_text("id,prompt,response_a,response_b\n")
    run = run_on(data, tmp_path)
    cross_validate(run)
    assert not (run.folder / "test.csv").exists()


def test_test_battles_carry_the_predictions_of_the_inputs_models_of_the_same_fold(workspace, finish):
    finish(load_run(workspace))
    for fold in range(5):
        kept = (workspace / "runs" / name / "test" / f"fold{fold}.csv" for name in ("echo", "memory"))
        ours, theirs = map(read_predictions, kept)
        assert np.array_equal(ours.proba, theirs.proba)
    assert len({(workspace / f"runs/echo/test/fold{k}.csv").read_text() for k in range(5)}) > 1


@pytest.mark.parametrize("damage", ["metrics.json", "oof.csv", "test/fold3.csv", "fold1/fold.json"])
def test_a_damaged_run_is_not_reusable(workspace, damage, finish):
    finish(load_run(workspace))
    assert is_reusable(load_run(workspace))
    (workspace / "runs" / "memory" / damage).write_text("cut off")
    assert not is_reusable(load_run(workspace))


def test_settings_that_an_older_record_lacks_count_as_equal_in_nested_tables_too():
    wanted = {"name": "siamese", "adapter": {"rank": 0}, "training": {"epochs": 2, "optimizer": "adamw"}}
    assert not _differs({"name": "siamese", "training": {"epochs": 2}}, wanted)
    for older in (
        {"training": {"epochs": 3}},
        {"training": {"epochs": None}},
        {"adapter": {"rank": 4}},
        {"training": {"epochs": 2, "removed": 1}},
        {"removed": 1},
    ):
        assert _differs(older, wanted), older


def test_a_run_with_another_parameter_or_test_file_is_not_reusable(workspace, finish):
    finish(load_run(workspace))
    write_experiment(workspace, "memory", '[model]\nname = "memory"\nsureness = 0.8')
    assert not is_reusable(load_run(workspace))
    write_experiment(workspace, "memory", '[model]\nname = "memory"')
    assert is_reusable(load_run(workspace))
    write_battles(tiny_battles(4, first=7000, word="test", labelled=False), workspace / "data" / "test.csv")
    assert not is_reusable(load_run(workspace))
    cross_validate(load_run(workspace))
    assert is_reusable(load_run(workspace))
    assert len(fits(workspace / "runs" / "memory")) == 5


def test_missing_inputs_are_refused_with_the_command_that_makes_them(workspace):
    message = complaint(lambda: load_run(workspace).train)
    assert "memory: expected a complete run of memory on these battles and folds" in message
    assert f"run memory --data {workspace / 'data'} --runs {workspace / 'runs'}" in message


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
def test_contradictory_inputs_are_refused_before_any_training(workspace, name, text, expected):
    write_experiment(workspace, "yours", 'inputs = ["mine"]\n[model]\nname = "echo"')
    write_experiment(workspace, "diagnostic", 'submittable = false\n[model]\nname = "prior"')
    write_experiment(workspace, "cut", '[model]\nname = "prior"\n[split]\nfolds = 4')
    write_experiment(workspace, name, f'{text}\n[model]\nname = "{"identity" if name == "names" else "echo"}"')
    assert expected in complaint(lambda: load_run(workspace, name))
    assert not (workspace / "runs").exists()


def test_a_diagnostic_may_build_on_a_diagnostic(workspace):
    write_experiment(workspace, "diagnostic", 'submittable = false\n[model]\nname = "prior"')
    write_experiment(workspace, "mine", 'submittable = false\ninputs = ["diagnostic"]\n[model]\nname = "echo"')
    assert load_run(workspace, "mine").inputs[0].experiment.name == "diagnostic"


def test_inputs_have_the_split_of_the_experiment(workspace):
    run = load_run(workspace, salt="9", limit=30)
    assert [each.experiment.label for each in run.inputs] == [
        "memory+salt=9+limit=30",
        "frequencies+salt=9+limit=30",
    ]
    assert load_experiment("echo", nested=True).label == "echo+nested=true"


def test_a_run_of_folds_of_two_configurations_is_not_reusable(workspace, monkeypatch, finish):
    """Training was interrupted: the out-of-fold file is of one configuration, a test prediction of the other."""
    finish(load_run(workspace))
    write_experiment(workspace, "memory", '[model]\nname = "memory"\nsureness = 0.8')

    def save_and_be_killed(task, outputs):
        save_fold(task, outputs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "save_fold", save_and_be_killed)
        with pytest.raises(KeyboardInterrupt):
            cross_validate(load_run(workspace, "memory"))
    write_experiment(workspace, "memory", '[model]\nname = "memory"')
    assert not is_reusable(load_run(workspace))
    cross_validate(load_run(workspace))
    assert is_reusable(load_run(workspace))


@pytest.mark.parametrize("content", ["{}", '{"data": {}, "folds": []}', "[]", '{"data": {"hash": "x"}}'])
def test_a_run_with_a_foreign_record_is_not_reusable(workspace, content, finish):
    finish(load_run(workspace, "memory"))
    (workspace / "runs" / "memory" / "metrics.json").write_text(content)
    assert not is_reusable(load_run(workspace, "memory"))


def test_published_predictions_of_these_battles_are_refused_as_soft_targets(workspace, finish):
    finish(load_run(workspace, "memory"))
    published = workspace / "benchmarks" / "predictions" / "data" / "memory.csv"
    read_predictions(workspace / "runs/memory/oof.csv").write(published)
    results = workspace / "benchmarks" / "results" / "data" / "memory.json"
    results.parent.mkdir(parents=True)
    results.write_text((workspace / "runs/memory/metrics.json").read_text())
    experiment = replace(load_experiment("memory"), soft_targets=str(published))
    message = complaint(lambda: resolve_run(experiment, DataFolder(workspace / "data"), workspace / "taught").train)
    assert "were trained on the winners of the scored fold" in message


def test_out_of_fold_predictions_of_these_battles_are_refused_as_soft_targets(workspace, finish):
    finish(load_run(workspace, "memory"))
    experiment = replace(load_experiment("memory"), soft_targets=str(workspace / "runs/memory/oof.csv"))
    message = complaint(lambda: resolve_run(experiment, DataFolder(workspace / "data"), workspace / "taught").train)
    assert "were trained on the winners of the scored fold" in message


@pytest.mark.parametrize("content", ['{"data": "arena"}', '{"data": null}', "[1]", "{"])
def test_soft_targets_next_to_a_foreign_record_are_read(data, tmp_path, content):
    Predictions(tiny_battles().id, np.full((40, 3), 1 / 3)).write(tmp_path / "theirs" / "teacher.csv")
    (tmp_path / "theirs" / "metrics.json").write_text(content)
    run = run_on(data, tmp_path, replace(MEMORY, soft_targets=str(tmp_path / "theirs" / "teacher.csv")))
    np.testing.assert_allclose(run.train.soft, 1 / 3)


def test_an_encoder_that_is_not_the_first_choice_is_part_of_the_name(monkeypatch):
    from pairrank.encoders import catalogue

    found = catalogue.Encoder("minilm", Path(), "hash")
    monkeypatch.setattr(catalogue, "find_encoder", lambda names: found)
    run = resolve_run(load_experiment("baseline"), None, Path("runs"))  # type: ignore[arg-type]
    assert run.folder == Path("runs/baseline@minilm")
    assert run.experiment.parameters["encoder"] == ["minilm"]
    first = load_experiment("baseline", ['encoder=["minilm"]'])
    assert resolve_run(first, None, Path("runs")).experiment.label not in ("baseline", "baseline@minilm")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "pooling"), [("bert", "mean"), ("gpt2", "last")])
def test_the_pooling_that_an_encoder_decides_is_part_of_the_settings(tmp_path: Path, name: str, pooling: str):
    folder = write_checkpoint(tmp_path, name)
    experiment = load_experiment("siamese", [f'encoder=["{folder}"]'])
    assert experiment.parameters["pooling"] == "auto"
    assert resolve_run(experiment, None, Path("runs")).experiment.parameters["pooling"] == pooling  # type: ignore[arg-type]
    chosen = load_experiment("siamese", [f'encoder=["{folder}"]', 'pooling="attention"'])
    assert resolve_run(chosen, None, Path("runs")).experiment.parameters["pooling"] == "attention"  # type: ignore[arg-type]


def test_a_language_model_that_is_an_option_is_resolved_like_an_encoder(monkeypatch):
    from pairrank.encoders import catalogue

    found = catalogue.Encoder("qwen-0.5b", Path(), "hash")
    monkeypatch.setattr(catalogue, "find_encoder", lambda names: found)
    wanted = load_experiment("structure", ['likelihood=["smollm2", "qwen-0.5b"]'])
    run = resolve_run(wanted, None, Path("runs"))  # type: ignore[arg-type]
    assert run.encoder_sha256 == "hash"
    assert run.experiment.parameters["likelihood"] == ["qwen-0.5b"]
    assert run.experiment.label.startswith("structure@qwen-0.5b+likelihood=")
    monkeypatch.setattr(catalogue, "find_encoder", lambda names: pytest.fail("an encoder was looked for"))
    plain = resolve_run(load_experiment("structure"), None, Path("runs"))  # type: ignore[arg-type]
    assert (plain.folder, plain.encoder_sha256) == (Path("runs/structure"), "")


def test_tuned_on_includes_the_folds_of_inputs_and_teachers(here):
    for name, text in {
        "low": 'tuned_on = [1, 2]\n[model]\nname = "prior"',
        "other": 'tuned_on = [2, 3]\n[model]\nname = "prior"',
        "pool": 'inputs = ["low", "other"]\n[model]\nname = "pool"',
        "top": 'inputs = ["pool"]\n[model]\nname = "pool"',
        "taught": 'teacher = "low"\n[model]\nname = "siamese"\nsoft_targets = true',
        "plain": 'inputs = ["prior"]\n[model]\nname = "pool"',
    }.items():
        write_experiment(here, name, text)
    names = ("low", "pool", "top", "taught", "plain")
    runs = {name: resolve_run(load_experiment(name), DataFolder(here), here) for name in names}
    found = {name: run.tuned_on for name, run in runs.items()}
    assert found == {"low": (1, 2), "pool": (1, 2, 3), "top": (1, 2, 3), "taught": (1, 2), "plain": ()}


# Settled once


def test_a_resolved_run_is_read_only(data, tmp_path):
    run = run_on(data, tmp_path)
    for field in fields(run):
        with pytest.raises(FrozenInstanceError):
            setattr(run, field.name, None)
    with pytest.raises(FrozenInstanceError):
        run.experiment.model = "prior"


def test_no_experiment_file_is_read_after_a_run_is_resolved(workspace, monkeypatch):
    """Nested inputs with a teacher are trained as resolved, although every file has another content by then."""
    split = "[split]\nfolds = 4"
    write_experiment(workspace, "frequencies", f'[model]\nname = "prior"\n{split}')
    taught = f'teacher = "frequencies"\n[model]\nname = "memory"\nsoft_targets = true\n{split}'
    write_experiment(workspace, "memory", taught)
    write_experiment(workspace, "echo", f'inputs = ["memory", "frequencies"]\n[model]\nname = "echo"\n{split}')
    undisturbed = load_run(workspace, nested=True)
    expected = cross_validate(undisturbed, [0])
    data = DataFolder(workspace / "data")
    run = resolve_run(load_experiment("echo", nested=True), data, workspace / "again")

    def refuse(path):
        raise AssertionError(f"{path} was read")

    for file in (workspace / "experiments").iterdir():
        file.write_text('[model]\nname = "prior"\nsmoothing = 99.0\n')
    (workspace / "experiments" / "frequencies.toml").unlink()
    monkeypatch.setattr(experiment_files, "read_table", refuse)
    record = cross_validate(run, [0])
    assert (record.identity, record.predictions) == (expected.identity, expected.predictions)
    assert record.experiment == expected.experiment
    # The inputs and the inner runs of fold 0, with their teachers, are among these files.
    home, other = undisturbed.folder.parent, run.folder.parent
    files = [file.relative_to(home) for file in sorted(home.rglob("oof.csv"))]
    assert len({file.parts[0] for file in files}) == 3
    assert any(file.parts.count("inner") == 2 for file in files)
    assert [(other / file).read_bytes() for file in files] == [(home / file).read_bytes() for file in files]


def test_a_run_that_was_recorded_under_former_names_of_hyperparameters_is_reusable(workspace, finish):
    write_experiment(workspace, "trees", '[model]\nname = "structure"\nlearner = "logistic"\ngroups = ["length"]')
    run = finish(load_run(workspace, "trees"))
    assert is_reusable(load_run(workspace, "trees"))
    file = run.folder / "metrics.json"
    values = json.loads(file.read_text())
    values["experiment"]["model"] |= values["experiment"]["model"].pop("trees")
    file.write_text(json.dumps(values))
    assert is_reusable(load_run(workspace, "trees"))
    values["experiment"]["model"]["leaves"] += 1
    file.write_text(json.dumps(values))
    assert not is_reusable(load_run(workspace, "trees"))


def test_a_run_on_other_predictions_of_an_input_is_not_reusable(workspace, finish):
    finish(load_run(workspace))
    assert is_reusable(load_run(workspace))
    file = workspace / "runs" / "memory" / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"predictions": "of another training"}))
    assert not is_reusable(load_run(workspace))
