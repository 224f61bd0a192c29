"""The loss of a battle, against the conditional likelihoods written out in numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pairrank.data.battles import Battles, object_array
from pairrank.training.loss import battle_loss, heads_of

LOGITS = torch.tensor([[0.3, -1.0, 0.2], [2.0, 1.0, -0.5], [-0.4, 0.1, 1.5], [0.0, 0.7, 0.7]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.1, 0.2, 0.1], [0.0, 0.0, 1.0], [0.2, 0.5, 0.3]])
"""Hard and soft winners; the second one has weight 0.4."""


def parts() -> tuple[np.ndarray, np.ndarray]:
    """Return the (4,) losses of the margin and of the tie."""
    p = np.exp(LOGITS.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    target = TARGETS.double().numpy()
    decided = p[:, 0] + p[:, 1]
    margin = -target[:, 0] * np.log(p[:, 0] / decided) - target[:, 1] * np.log(p[:, 1] / decided)
    tie = -target[:, 2] * np.log(p[:, 2]) - (target[:, 0] + target[:, 1]) * np.log(decided)
    return margin, tie


@pytest.mark.parametrize(
    "heads", [[[1, 1]] * 4, [[1, 0]] * 4, [[0, 1]] * 4, [[1, 1], [1, 0], [0, 1], [1, 1]]], ids=str
)
def test_loss_is_that_of_the_parts_that_battles_train(heads: list[list[int]]) -> None:
    margin, tie = parts()
    expected = np.mean([m * use[0] + t * use[1] for m, t, use in zip(margin, tie, heads, strict=True)])
    found = battle_loss(LOGITS, TARGETS, torch.tensor(heads).float())
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_both_parts_together_are_the_cross_entropy() -> None:
    assert float(battle_loss(LOGITS, TARGETS)) == pytest.approx(sum(map(np.mean, parts())), abs=1e-6)


def test_a_battle_that_trains_the_margin_does_not_move_the_tie_logit() -> None:
    logits = LOGITS.clone().requires_grad_()
    battle_loss(logits, TARGETS, torch.tensor([[1.0, 0.0]] * 4)).backward()
    assert logits.grad is not None
    assert logits.grad[:, 2].abs().max() == 0
    assert logits.grad[:, :2].abs().max() > 0.01


def test_heads_are_given_only_if_battles_differ(battles: Battles) -> None:
    assert heads_of(battles) is None
    assert heads_of(replace(battles, teaches=object_array(["both"] * 5))) is None
    mixed = replace(battles, teaches=object_array(["both", "margin", "tie", "both", "margin"]))
    found = heads_of(mixed)
    assert found is not None
    assert found.tolist() == [[1, 1], [1, 0], [0, 1], [1, 1], [1, 0]]
