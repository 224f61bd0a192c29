"""The weights of battles scale their losses, and validation uses battles of the highest weight only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pairrank.data.battles import concatenate, object_array
from pairrank.data.folds import hold_out
from pairrank.training import fine_tuning
from pairrank.training.recipe import make_targets
from tests.support.battles import arena_of_words, tiny_battles
from tests.support.fine_tuning import FAST


def test_targets_contain_the_weights():
    battles = replace(
        tiny_battles(3),
        winner=np.array([0, 1, 2]),
        weight=np.array([1.0, 0.2, 3.0]),
        soft=np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]]),
    )
    assert make_targets(battles) == pytest.approx(np.diag([1.0, 0.2, 3.0]))
    assert make_targets(battles, soft=True)[1] == pytest.approx([0.02, 0.18, 0.0])
    smoothed = make_targets(battles, label_smoothing=0.3)
    assert smoothed[2] == pytest.approx([0.3, 0.3, 2.4])
    for targets in (smoothed, make_targets(battles, soft=True, label_smoothing=0.1)):
        assert targets.sum(axis=1) == pytest.approx(battles.weights)
    assert np.array_equal(make_targets(replace(battles, weight=None)), np.eye(3))


def test_the_loss_of_a_row_is_multiplied_by_its_weight():
    """The expected cross-entropy is minus the weighted sum of log-probabilities, divided by the number of rows."""
    battles = replace(tiny_battles(6), weight=np.array([1.0, 0.2, 3.0, 1.0, 0.5, 2.0]))
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(make_targets(battles, label_smoothing=0.1)))
    plain = torch.nn.functional.cross_entropy(
        logits, torch.tensor(make_targets(replace(battles, weight=None), label_smoothing=0.1)), reduction="none"
    )
    assert loss.item() == pytest.approx((plain.numpy() * battles.weights).mean())


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_validation_uses_no_extra_battle_whatever_its_weight(monkeypatch: pytest.MonkeyPatch, weight: float):
    battles = arena_of_words(120)
    # Every prompt is in both sources, so a held-out prompt must be held out of both.
    again = replace(battles, id=object_array([f"more/{name}" for name in battles.id]), weight=np.full(120, weight))
    again, own = (
        replace(x, is_extra=np.full(120, x is again)) for x in (again, replace(battles, weight=np.ones(120)))
    )
    whole = concatenate([own, again])
    rows = {}

    def spied(
        module: object, train: fine_tuning.Rows, validation: fine_tuning.Rows, *_: object
    ) -> fine_tuning.TrainingHistory:
        rows.update(learned=train, watched=validation)
        return fine_tuning.TrainingHistory()

    monkeypatch.setattr(fine_tuning, "fine_tune", spied)
    read = lambda part: part.id.tolist()  # noqa: E731
    fine_tuning.fine_tune_battles(torch.nn.Linear(1, 1), whole, read, list, replace(FAST, hold_out=0.25), None)
    held = hold_out(battles, 0.25, salt="watch")
    assert 10 < held.sum() < 60
    expected = battles.id[held].tolist()
    assert rows["watched"].tokens == expected
    assert rows["watched"].targets.sum(axis=1) == pytest.approx(np.ones(len(expected)))
    assert rows["learned"].tokens == [*battles.id[~held], *(f"more/{name}" for name in battles.id[~held])]
    assert rows["learned"].targets.sum(axis=1) == pytest.approx(np.repeat([1.0, weight], (~held).sum()))
