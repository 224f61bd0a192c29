"""Saved models predict new battles through all inputs, and models of two configurations are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.data.predictions import geometric_mean, read_predictions
from pairrank.errors import UserError
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.fold_models import load_fold_models
from pairrank.runs.run import Run
from tests.support.battles import tiny_battles
from tests.support.runs import (
    MEMORY,
    complaint,
    load_run,
    run_on,
    write_experiment,
)


def test_models_of_two_configurations_are_never_averaged(data, tmp_path, monkeypatch, finish):
    from pairrank.models.base import model_class

    run = finish(run_on(data, tmp_path))
    test = tiny_battles(3, first=7000, word="test", labelled=False)
    alone = load_fold_models(run.folder).predict(test)
    np.testing.assert_allclose(alone.proba.sum(axis=1), 1)
    memory = model_class("memory")
    original = memory.fit
    monkeypatch.setattr(memory, "fit", lambda self, b, f, m: 1 / 0 if f.name == "fold1" else original(self, b, f))
    changed = Run(replace(MEMORY, parameters={"sureness": 0.8, "seed": 0}), DataFolder(data.path), run.folder)
    with pytest.raises(ZeroDivisionError):
        cross_validate(changed)
    with pytest.raises(UserError, match="no finished run"):
        load_fold_models(run.folder).predict(test)


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        load_fold_models(tmp_path)


def test_new_battles_are_predicted_through_all_inputs(workspace, finish):
    finish(load_run(workspace, "twice"))
    test = DataFolder(workspace / "data").test
    assert test is not None
    models = load_fold_models(workspace / "runs" / "twice")
    kept = read_predictions(workspace / "runs" / "twice" / "test.csv")
    assert np.allclose(models.predict(test).proba, kept.proba, atol=1e-8)
    # An echo of an echo of a memory: the mean over its fold models.
    folds = [read_predictions(workspace / f"runs/memory/test/fold{k}.csv") for k in range(5)]
    assert np.allclose(kept.proba, geometric_mean(folds).proba, atol=1e-8)
    backwards = test.take(np.arange(len(test))[::-1])
    assert np.array_equal(models.predict(backwards).proba, models.predict(test).proba[::-1])


def test_an_input_with_new_predictions_is_refused_until_the_run_is_trained_again(workspace, finish):
    finish(load_run(workspace))
    write_experiment(workspace, "memory", '[model]\nname = "memory"\nsureness = 0.8')
    changed = load_run(workspace, "memory")
    cross_validate(changed)
    metrics = json.loads((changed.folder / "metrics.json").read_text())
    (changed.folder / "metrics.json").write_text(json.dumps(metrics | {"predictions": "others"}))
    message = complaint(lambda: load_fold_models(workspace / "runs" / "echo"))
    assert "made with other predictions of memory than" in message


def test_a_missing_input_is_refused(workspace, finish):
    finish(load_run(workspace))
    (workspace / "runs" / "memory" / "metrics.json").unlink()
    assert "memory: no finished run" in complaint(lambda: load_fold_models(workspace / "runs" / "echo"))
