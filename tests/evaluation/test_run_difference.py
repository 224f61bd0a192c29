"""The difference of two runs, compared with numbers that pandas computes from the predictions alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pairrank.errors import UserError
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.run_difference import changed_settings, run_difference
from pairrank.evaluation.survey import survey_of
from tests.support.entries import BATTLES, entry, plain_losses, some_predictions, some_record

SURVEY = survey_of(BATTLES, guess_language=False)


def difference(first, second):
    return run_difference("d", BATTLES, SURVEY, first, second)


def test_losses_are_compared_on_the_battles_that_both_have_predicted():
    first, second = entry("a", 0, slice(0, 50)), entry("b", 1, slice(10, 60))
    found = difference(first, second)
    change = (plain_losses(second.predictions) - plain_losses(first.predictions)).dropna()
    assert found.battles.id.tolist() == BATTLES.id[10:50].tolist()
    assert found.change == pytest.approx(change[list(found.battles.id)].to_numpy())
    assert found.difference.mean == pytest.approx(change.mean())
    assert found.counts == ((change < 0).sum(), (change > 0).sum(), 0)


def test_the_interval_is_a_bootstrap_over_prompts():
    first, second = entry("a", 0), entry("b", 1)
    change = plain_losses(second.predictions) - plain_losses(first.predictions)
    prompts = pd.Series([turns[0] for turns in BATTLES.prompt], index=BATTLES.id)
    groups = [group.to_numpy() for _, group in change.groupby(prompts)]
    rng = np.random.default_rng(3)
    drawn = [
        np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]).mean() for _ in range(4_000)
    ]
    found = difference(first, second).difference
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_battles_gained_and_lost_are_those_whose_loss_changes_most():
    first, second = entry("a", 0), entry("b", 1)
    found = difference(first, second)
    change = (plain_losses(second.predictions) - plain_losses(first.predictions)).sort_values()
    assert found.battles.id[found.gained(5)].tolist() == change.index[:5].tolist()
    assert found.battles.id[found.lost(5)].tolist() == change.index[::-1][:5].tolist()
    assert (found.change[found.gained(60)] < 0).all()
    assert len(found.gained(60)) + len(found.lost(60)) == 60
    right = [
        pd.DataFrame(each.predictions.proba).idxmax(axis=1).to_numpy() == BATTLES.labels for each in (first, second)
    ]
    assert found.hits == ((right[1] & ~right[0]).sum(), (right[0] & ~right[1]).sum())


def test_changing_places_changes_the_sign_and_nothing_else():
    there, back = difference(entry("a", 0), entry("b", 1)), difference(entry("b", 1), entry("a", 0))
    assert there.difference.mean == pytest.approx(-back.difference.mean)
    assert there.difference.low == pytest.approx(-back.difference.high)
    assert there.gained(9) == back.lost(9)
    assert [each.change.mean for each in there.slices] == pytest.approx([-each.change.mean for each in back.slices])


def test_a_run_does_not_differ_from_itself():
    found = difference(entry("a", 0), entry("a", 0))
    assert (found.difference.mean, found.difference.low, found.difference.high) == (0, 0, 0)
    assert (found.counts, found.gained(5), found.lost(5), found.settings) == ((0, 0, 60), [], [], ())


def test_slices_have_the_mean_change_of_their_battles():
    first, second = entry("a", 0), entry("b", 1)
    change = plain_losses(second.predictions) - plain_losses(first.predictions)
    by_name = {f"{each.kind}: {each.name}": each.change for each in difference(first, second).slices}
    decided = change[BATTLES.id[BATTLES.labels != 2]]
    assert by_name["votes: decided"].mean == pytest.approx(decided.mean())
    assert by_name["votes: decided"].battles == len(decided)
    assert "votes: ties" not in by_name or by_name["votes: ties"].battles >= 30


def test_folds_on_which_a_setting_was_tuned_are_left_out():
    tuned = entry("a", 0, tuned_on=[0, 1])
    found = difference(tuned, entry("b", 1))
    assert 0 < len(found.battles) < 60


def test_runs_without_a_common_battle_are_refused():
    with pytest.raises(UserError, match="no battle in common"):
        difference(entry("a", 0, slice(0, 30)), entry("b", 1, slice(30, 60)))


def test_settings_that_differ_are_named_and_no_others():
    predictions = some_predictions(0)
    model = {"name": "m", "seed": 3, "training": {"epochs": 1}}
    split = {"folds": 5}
    first = some_record("a", predictions, experiment={"model": model, "split": split, "about": "x"}, commit="c1")
    changed = model | {"seed": 4, "training": {"epochs": 2}, "extra_key": ["p"]}
    second = replace(
        some_record("b", predictions, experiment={"model": changed, "split": split, "about": "y"}, commit="c2"),
        encoder=None,
    )
    found = {each.key: (each.first, each.second, each.kind) for each in changed_settings(first, second)}
    assert found == {
        "model.seed": ("3", "4", "setting"),
        "model.training.epochs": ("1", "2", "setting"),
        "model.extra_key": ("–", '["p"]', "setting"),
        "encoder": ("enc (01234567)", "–", "setting"),
        "commit": ("c1", "c2", "provenance"),
    }
    assert changed_settings(first, first) == ()


def test_settings_of_predictions_without_a_record_are_unknown():
    assert difference(entry("a", 0), Entry("book", some_predictions(1))).settings is None
