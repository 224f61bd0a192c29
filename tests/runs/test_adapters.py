"""Fold models of one encoder predict like separate models; their adapters are averaged number by number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pairrank.data.folder import DataFolder
from pairrank.data.predictions import geometric_mean, read_predictions
from pairrank.models.saving import load_model, save_model
from pairrank.models.siamese import Siamese
from pairrank.runs.adapters import ModelsOfOneEncoder, load_average, load_models, merge_fold
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.experiment import Experiment
from pairrank.runs.fold_models import load_averaged_model, load_fold_models
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run
from tests.support.architectures import WINDOW
from tests.support.battles import arena_of_words, tiny_battles, write_folder
from tests.support.runs import complaint, load_run

ADAPTED = {
    "max_tokens": WINDOW,
    "hidden": 8,
    "adapter": {"rank": 2},
    "training": {
        "learning_rate": 1e-2,
        "epochs": 2,
        "batch_size": 4,
        "frozen_layers": 0,
        "hold_out": 0.0,
        "precision": "fp32",
    },
}
UNSEEN = arena_of_words(5, seed=3)


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two folds with adapters."""
    home = tmp_path_factory.mktemp("adapted")
    parameters = ADAPTED | {"encoder": [str(tiny_bert)]}
    experiment = Experiment("adapted", "a tiny adapter", "siamese", parameters, folds=2)
    found = resolve_run(experiment, DataFolder(write_folder(home / "data", n=20)), home / "runs")
    cross_validate(found)
    return found


@pytest.fixture
def folders(run: Run) -> list[Path]:
    return [run.folder / "fold0", run.folder / "fold1"]


def test_models_of_one_encoder_predict_like_separate_models_in_any_order(folders: list[Path]):
    shared, separate = load_models(folders), [load_model(folder) for folder in folders]
    assert isinstance(shared, ModelsOfOneEncoder)
    assert len(shared) == 2
    for i in (0, 1, 1, 0, -1):
        assert np.array_equal(shared[i].predict_proba(UNSEEN), separate[i].predict_proba(UNSEEN))
    assert shared[0] is shared[1:][0]
    assert np.array_equal(shared[1:][0].predict_proba(UNSEEN), separate[1].predict_proba(UNSEEN))


def test_saved_models_predict_the_test_battles_as_the_run_did(run: Run):
    test = run.test
    assert test is not None
    kept = read_predictions(run.folder / "test.csv")
    assert load_fold_models(run.folder).predict(test).proba == pytest.approx(kept.proba, abs=1e-8)


def test_the_average_has_the_mean_of_every_trained_number_and_the_base(folders: list[Path]):
    average, parts = load_average(folders).bare, [load_model(folder).bare for folder in folders]
    averaged = dict(average.module_.named_parameters())
    changed = 0
    for name, first in parts[0].module_.named_parameters():
        second = parts[1].module_.get_parameter(name)
        torch.testing.assert_close(averaged[name], (first + second) / 2, atol=1e-7, rtol=1e-6)
        changed += not torch.equal(first, second)
        assert torch.equal(first, second) or first.requires_grad
    assert changed > 10


def test_the_average_of_equal_models_is_the_model(folders: list[Path]):
    average, alone = load_average([folders[0]] * 2), load_model(folders[0])
    assert np.array_equal(average.predict_proba(UNSEEN), alone.predict_proba(UNSEEN))


def test_the_averaged_model_of_a_run_predicts_alone(run: Run, folders: list[Path]):
    found = load_averaged_model(run.folder).predict(UNSEEN).proba
    assert found == pytest.approx(load_average(folders).predict_proba(UNSEEN), abs=1e-8)
    mean = geometric_mean([load_fold_models(run.folder).predict_fold(fold, UNSEEN) for fold in (0, 1)])
    assert np.abs(found - mean.proba).max() > 1e-6


def test_folds_of_different_settings_are_not_combined(folders: list[Path], tmp_path: Path):
    other: Siamese = replace(load_model(folders[0]).bare, seed=1)
    save_model(other.fit(tiny_battles(8)), tmp_path / "fold1")
    for load in (load_models, load_average):
        assert "other settings" in complaint(lambda load=load: load([folders[0], tmp_path / "fold1"]))


def test_a_merged_fold_is_compared_with_the_predictions_of_the_run(run: Run, folders: list[Path], tmp_path: Path):
    merged = merge_fold(folders[0], tmp_path / "fold0", run.battles)
    scored = run.battles.take(run.fold_index == 0)
    assert merged.battles == len(scored)
    kept = read_predictions(folders[0] / "oof.csv").align(scored.id).proba
    change = np.abs(load_model(tmp_path / "fold0").predict_proba(scored) - kept).max()
    assert merged.largest_change == pytest.approx(change, abs=1e-9)
    assert change < 1e-5


def test_runs_without_adapters_or_with_inputs_are_not_averaged(workspace: Path, finish):
    finish(load_run(workspace, "echo"))
    assert "no adapters to average" in complaint(lambda: load_averaged_model(workspace / "runs" / "memory"))
    assert "builds on others" in complaint(lambda: load_averaged_model(workspace / "runs" / "echo"))
