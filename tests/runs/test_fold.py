"""A fold measures what exchanging A and B does to its model, and scores battles of any length."""

from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.folder import DataFolder
from pairrank.data.predictions import read_predictions
from pairrank.data.writing import write_battles
from pairrank.runs.cross_validation import cross_validate
from pairrank.runs.resolution import resolve_run
from tests.support.battles import tiny_battles, write_folder
from tests.support.runs import PRIOR, run_on


def test_swap_gap_and_flip_rate_are_measured_on_swapped_battles(data, tmp_path):
    run = run_on(data, tmp_path, PRIOR)
    record = cross_validate(run)
    # The prior ignores the order: its predictions for A and B change places.
    proba = read_predictions(run.folder / "oof.csv").proba
    assert record.swap_gap == pytest.approx(np.abs(proba[:, 0] - proba[:, 1]).mean(), abs=1e-8)
    # Where it predicts a side, it predicts the other one after a swap.
    assert record.flip_rate == pytest.approx((proba.argmax(axis=1) != 2).mean())


def test_long_battles_are_scored_like_any_other(tmp_path):
    battles = tiny_battles(20)
    long = battles.response_b.copy()
    long[3] = ("word " * 100_000,)
    folder = write_folder(tmp_path / "data", n=20, tests=0)
    write_battles(replace(battles, response_b=long), folder / "train.csv")
    run = resolve_run(PRIOR, DataFolder(folder), tmp_path / "runs")
    cross_validate(run)
    assert read_predictions(run.folder / "oof.csv").id.tolist() == battles.id.tolist()
