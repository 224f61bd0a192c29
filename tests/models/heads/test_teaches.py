"""Battles that teach one head alone change that head, and a model that does not separate them refuses them."""

from dataclasses import replace

import numpy as np
import pytest

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.probabilities import margin_and_tie
from pairrank.errors import UserError
from pairrank.models.base import build
from tests.support.battles import tiny_battles

SMALL = {
    "structure": {"seeds": 1, "rounds": 5, "tie_rounds": 5},
    "kernel": {},
    "sparse": {"min_count": 1},
    "gbdt": {"groups": ["length"], "seeds": 1, "rounds": 5},
}
TRAIN, NEW = tiny_battles(60), tiny_battles(12, first=900, word="new", labelled=False)


def taught(winner: int, teaches: str) -> Battles:
    """The training battles, and as many others that all have one winner and teach a head."""
    train = replace(TRAIN, teaches=object_array(["both"] * len(TRAIN)))
    others = tiny_battles(60, first=500, word="more")
    others = replace(others, winner=np.full(60, winner), teaches=object_array([teaches] * 60))
    return concatenate([train, others])


@pytest.mark.parametrize("name", SMALL)
def test_battles_that_teach_one_head_leave_the_other_as_it_was(name: str):
    def heads(train: Battles) -> tuple[np.ndarray, np.ndarray]:
        return margin_and_tie(build(name, **SMALL[name]).fit(train).predict_proba(NEW))

    # The vocabulary of `sparse` is learned from the texts of all battles.
    same = {"abs": 0.05 if name == "sparse" else 1e-9}
    ties, tie_only = heads(taught(2, "margin")), heads(taught(0, "tie"))
    alone = heads(replace(TRAIN, teaches=None))
    # Battles that are ties teach no margin, and those that are decided and teach the tie alone teach none either.
    assert ties[0] == pytest.approx(alone[0], **same)
    assert tie_only[0] == pytest.approx(alone[0], **same)
    assert np.abs(tie_only[1] - alone[1]).max() > 1e-3  # but they change the frequency of ties


@pytest.mark.parametrize("name", ["prior", "identity"])
def test_a_model_with_a_single_head_refuses_them(name: str):
    with pytest.raises(UserError, match="need a model that learns the two apart"):
        build(name).fit(taught(0, "margin"))


def test_a_multinomial_head_refuses_them():
    with pytest.raises(UserError, match="need a model that learns the two apart"):
        build("gbdt", learner="multinomial", groups=["length"]).fit(taught(0, "margin"))
