"""A run's folder: other battles are refused, test predictions averaged, and nothing stale is left behind."""

import csv

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.data.predictions import read_predictions
from pairrank.errors import UserError
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.resolution import resolve_run
from pairrank.runs.run import Run
from tests.support.battles import write_folder
from tests.support.runs import (
    DIVERGED,
    MEMORY,
    PRIOR,
    run_on,
)


def test_test_predictions_are_the_geometric_mean_over_fold_models(data, tmp_path, finish):
    run = finish(run_on(data, tmp_path))
    members = [read_predictions(run.folder / "test" / f"fold{k}.csv") for k in range(5)]
    assert not np.allclose(members[0].proba, members[1].proba, atol=1e-6)
    product = np.prod([member.proba for member in members], axis=0) ** (1 / 5)
    whole = read_predictions(run.folder / "test.csv")
    np.testing.assert_allclose(whole.proba, product / product.sum(axis=1, keepdims=True), atol=1e-8)
    assert whole.id.tolist() == [str(6000 + i) for i in range(6)]


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_on_other_battles_is_refused_and_not_overwritten(data, tmp_path, finished, finish):
    run = finish(run_on(data, tmp_path))
    if not finished:
        (run.folder / "metrics.json").unlink()
    before = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    other = DataFolder(write_folder(tmp_path / "other", first=2))
    with pytest.raises(UserError, match=r"other battles.*40 of data.*40 of other.*--runs"):
        cross_validate(resolve_run(MEMORY, other, tmp_path / "runs"))
    assert {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()} == before


def test_write_history_leaves_nan_empty_and_removes_an_earlier_history(data, tmp_path, add_model):
    add_model("diverged")
    run = run_on(data, tmp_path, DIVERGED)
    cross_validate(run)
    with (run.folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["Fold"], row["Step"]) for row in rows] == [(str(k), s) for k in range(5) for s in "36"]
    assert {row["Training Loss"] for row in rows} == {""}
    assert {row["Accuracy"] for row in rows} == {"1.5"}
    (run.folder / "curves.png").touch()
    # Another model in the same folder leaves none of it behind.
    cross_validate(Run(PRIOR, DataFolder(data.path), run.folder))
    assert not (run.folder / "history.csv").exists()
    assert not (run.folder / "curves.png").exists()
