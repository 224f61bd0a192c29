"""The results of a run add up what its folds predicted and cost."""

import json

import numpy as np
import pytest

from pairrank.data.predictions import read_predictions
from pairrank.evaluation.run_record import DataRecord, EncoderRecord, read_run_record
from pairrank.runs.cross_validation import cross_validate
from tests.support.battles import tiny_battles
from tests.support.examples import example
from tests.support.runs import DIVERGED, PRIOR, expected_fold, fits, load_run, run_on


def test_out_of_fold_predictions_are_in_the_order_of_the_battles(data, tmp_path):
    run = run_on(data, tmp_path, PRIOR)
    record = cross_validate(run)
    whole = read_predictions(run.folder / "oof.csv")
    battles = tiny_battles()
    assert whole.id.tolist() == battles.id.tolist()
    # The prior computed here: counts of the other folds' winners, one added to each.
    fold = np.array([expected_fold(p[0]) for p in battles.prompt])
    expected = np.empty((len(battles), 3))
    for row, k in enumerate(fold):
        counts = np.bincount(battles.labels[fold != k], minlength=3) + 1.0
        expected[row] = counts / counts.sum()
    np.testing.assert_allclose(whole.proba, expected, atol=1e-8)
    losses = -np.log(expected[np.arange(40), battles.labels])
    assert record.log_loss == pytest.approx(losses.mean(), abs=1e-8)


def test_metrics_json_names_what_made_the_result_and_holds_no_nan(data, tmp_path, add_model):
    add_model("diverged")
    run = run_on(data, tmp_path, DIVERGED)
    cross_validate(run)

    def no_constant(name):
        raise AssertionError(f"{name} in metrics.json")

    json.loads((run.folder / "metrics.json").read_text(), parse_constant=no_constant)
    record = read_run_record(run.folder)
    fold = json.loads((run.folder / "fold0" / "fold.json").read_text(), parse_constant=no_constant)
    assert record.label == "diverged"
    assert record.experiment["model"] == {"name": "diverged", "sureness": 0.9, "seed": 0}
    assert record.experiment["split"] == {"folds": 5, "salt": "", "limit": 0, "nested": False}
    assert record.data == DataRecord("data", tiny_battles().content_hash(), 40)
    assert record.warnings == ("a [bracketed] warning",)
    assert record.parameters == fold["report"]["parameters"]
    assert record.versions.keys() >= {"python", "numpy", "torch"}
    assert record.accuracy == pytest.approx((tiny_battles().labels == 0).mean())
    assert record.peak_memory_mb > 0


def test_measurements_of_folds_are_added_up(data, tmp_path, add_model):
    report = """return {"encoder": {"name": "e", "sha256": "f"}, "lost_a_side": 2, "tokens": {
            "kept": {"prompt": len(self.known_), "response_a": 1, "response_b": 0},
            "of": {"prompt": 20, "response_a": 4, "response_b": 0}}, """
    add_model("memory", example("memory").replace("return {", report))
    run = run_on(data, tmp_path)
    record = cross_validate(run)
    # Two training battles share each prompt.
    known = sum(len(ids) // 2 for _, ids in fits(run.folder))
    assert record.kept == {"prompt": pytest.approx(known / 100), "response_a": 0.25, "response_b": 0.0}
    assert record.lost_a_side == 10
    assert record.encoder == EncoderRecord("e", "f")
    folds = [json.loads((run.folder / f"fold{k}" / "fold.json").read_text()) for k in range(5)]
    assert record.training_seconds == pytest.approx(sum(fold["training_seconds"] for fold in folds))
    gaps = [fold["swap_gap"] * fold["battles"] for fold in folds]
    assert record.swap_gap == pytest.approx(sum(gaps) / 40)
    flips = [fold["flip_rate"] * fold["battles"] for fold in folds]
    assert record.flip_rate == pytest.approx(sum(flips) / 40)
    assert record.peak_memory_mb == max(fold["peak_memory_mb"] for fold in folds)


def test_the_cost_of_a_run_includes_each_of_its_inputs_once(workspace, finish):
    whole = read_run_record(finish(load_run(workspace, "twice")).folder)
    parts = [
        json.loads((workspace / "runs" / n / "metrics.json").read_text()) for n in ("memory", "frequencies", "echo")
    ]
    seconds = [part.get("alone", part)["training_seconds"] for part in parts]
    assert whole.training_seconds == pytest.approx(whole.alone.training_seconds + sum(seconds))
    assert whole.parameters == sum(part.get("alone", part)["parameters"] for part in parts)
    assert whole.battles_per_second is None
