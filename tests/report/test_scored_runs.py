"""Runs with their battles: which are shown, which battles are scored, and their slices."""

import numpy as np
import pytest

from pairrank.data.folds import fold_of, prompt_keys
from pairrank.report.scored_runs import score_run
from tests.support.pages import entry_of, hostile_battles, made_up_results


def test_constant_runs_are_shown_only_if_named():
    results = made_up_results()
    assert {run.label for run in results.runs if run.is_constant} == {"prior"}
    assert [run.label for run in results.shown] == [run.label for run in results.runs if run.label != "prior"]
    assert [run.label for run in made_up_results(named=["prior"]).shown] == ["prior"]


def test_battles_cut_to_a_window_are_a_slice():
    rows = np.arange(240) < 30
    results = made_up_results(named=["one"], windows={"one": ("512 tokens", rows)})
    one = results.shown[0]
    scores = {score.name: score for score in results.slices(one) if score.kind == "window"}
    assert scores["cut to 512 tokens"].log_loss.battles == 30
    assert scores["cut to 512 tokens"].log_loss.mean == pytest.approx(one.losses[:30].mean())


def test_score_run_leaves_out_the_folds_on_which_a_run_was_tuned():
    battles = hostile_battles()
    entry = entry_of("tuned", battles, 1.0, 7, tuned_on=[0, 1, 2, 3])
    run = score_run(entry, battles)
    untouched = np.array([fold_of(key) == 4 for key in prompt_keys(battles)])
    assert run.rows.tolist() == np.flatnonzero(untouched).tolist()
    np.testing.assert_allclose(run.proba, entry.predictions.proba[untouched])
    assert run.winner.tolist() == battles.labels[untouched].tolist()
