"""A battle's offsets are predictions that its own winner has not influenced, and they turn with its sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.data.probabilities import softmax
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.features.counting import count_features
from pairrank.models.base import build
from pairrank.models.heads.offsets import (
    COUNTED,
    OffsetModel,
    cross_predict,
    fit_counted,
    fit_offsets,
    offsets_of,
)
from tests.support.battles import chatter, tiny_battles

GROUPS = ("length", "words", "similarity")


def with_inputs(battles: Battles, seed: int = 0) -> Battles:
    logits = np.random.default_rng(seed).normal(size=(len(battles), 2, 3))
    proba = np.stack([softmax(each) for each in logits])
    return replace(battles, inputs=proba, input_names=("one", "two"))


def test_the_counted_model_is_the_logistic_model_of_structure():
    train, unseen = chatter(60), chatter(20, seed=1)
    structure = build("structure", learner="logistic", groups=GROUPS).fit(train)
    assert fit_counted(train, GROUPS).predict_proba(unseen) == pytest.approx(
        structure.predict_proba(unseen), abs=1e-12
    )


def test_counted_predictions_commute_with_swapping_to_the_last_bit():
    train, unseen = chatter(60), chatter(20, seed=1)
    model = fit_counted(train, GROUPS)
    assert np.array_equal(model.predict_proba(unseen.swap())[:, [1, 0, 2]], model.predict_proba(unseen))


def test_the_winners_of_a_prompt_do_not_change_its_own_predictions():
    """Every prompt of `tiny_battles` is asked twice; both of its winners are exchanged."""
    train = tiny_battles(40)
    before = cross_predict(train, GROUPS)
    for prompt in range(0, 40, 6):
        winner = train.labels.copy()
        winner[prompt : prompt + 2] = [1, 0, 2][winner[prompt]] if winner[prompt] < 2 else 0
        after = cross_predict(replace(train, winner=winner), GROUPS)
        assert np.array_equal(after[prompt : prompt + 2], before[prompt : prompt + 2])
        assert np.abs(after - before).max() > 1e-6


def test_predictions_of_the_model_of_all_battles_would_be_found_out(monkeypatch: pytest.MonkeyPatch):
    """Planted: the winners are random, but the model has seen them."""
    monkeypatch.setattr("pairrank.models.heads.offsets.PENALTY", 1.0)
    train = chatter(200)
    prior = log_loss(np.tile(np.bincount(train.labels) / 200, (200, 1)), train.labels)
    assert log_loss(cross_predict(train, GROUPS), train.labels) > prior
    assert log_loss(fit_counted(train, GROUPS).predict_proba(train), train.labels) < prior - 0.02


def test_the_sources_are_the_inputs_and_the_counted_features():
    train = with_inputs(tiny_battles(40))
    model, attached = fit_offsets(train, GROUPS)
    assert len(model) == 3
    assert attached.input_names == ("one", "two", COUNTED)
    assert np.array_equal(attached.inputs[:, 2], cross_predict(train, GROUPS))
    assert np.array_equal(model.attach(train).inputs[:, 2], fit_counted(train, GROUPS).predict_proba(train))
    alone, unchanged = fit_offsets(train, [])
    assert (len(alone), alone.counted) == (2, None)
    assert np.array_equal(alone.attach(train).inputs, unchanged.inputs)


def test_battles_without_a_group_or_inputs_have_no_sources():
    train = tiny_battles(8)
    model, attached = fit_offsets(train, [])
    assert len(model) == 0
    assert offsets_of(attached).shape == offsets_of(model.attach(with_inputs(train))).shape == (8, 0, 2)


def test_offsets_are_margin_and_tie_logit_and_turn_with_the_sides():
    battles = with_inputs(tiny_battles(8))
    offsets = offsets_of(battles)
    margin, tie = offsets[..., 0], offsets[..., 1]
    for i in range(2):
        logits = np.stack([margin[:, i], -margin[:, i], tie[:, i]], axis=1)
        assert softmax(logits) == pytest.approx(battles.inputs[:, i], abs=1e-12)
    assert np.array_equal(offsets_of(battles.swap()), offsets * [-1, 1])


def test_other_inputs_than_in_training_are_refused():
    model, _ = fit_offsets(with_inputs(tiny_battles(8)), [])
    with pytest.raises(UserError, match="fitted on the inputs one, two, but the battles carry none"):
        model.attach(tiny_battles(8))


@pytest.mark.parametrize("groups", [GROUPS, ()])
def test_what_is_saved_predicts_the_same(tmp_path: Path, groups):
    train = with_inputs(tiny_battles(40))
    model, _ = fit_offsets(train, groups)
    model.save(tmp_path)
    loaded = OffsetModel.load(tmp_path)
    assert loaded == model
    assert np.array_equal(loaded.attach(train).inputs, model.attach(train).inputs)


def test_a_model_without_sources_writes_no_file(tmp_path: Path):
    OffsetModel().save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert OffsetModel.load(tmp_path) == OffsetModel()


def test_the_columns_are_standardised_by_the_training_battles():
    """An odd column by its root mean square over decided battles, an even one by mean and spread over all."""
    train = chatter(60)
    counted, model = count_features(train, ["length"]), fit_counted(train, ["length"])
    decided = train.labels < 2
    assert model.margin.centre == [0.0]
    assert model.margin.scale == pytest.approx(np.sqrt((counted.odd[decided] ** 2).mean(axis=0)))
    assert model.tie.centre == pytest.approx(counted.even.mean(axis=0))
    assert model.tie.scale == pytest.approx(counted.even.std(axis=0))
