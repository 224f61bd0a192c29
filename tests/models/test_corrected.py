"""A model with evidence is the model itself, but for the battles that evidence decides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.errors import UserError
from pairrank.models.base import build
from pairrank.models.corrected import WithEvidence
from pairrank.models.saving import load_model, save_model
from tests.support.battles import tiny_battles


def with_identical(battles: Battles, count: int) -> Battles:
    """Make the answers of the first battles identical, and these battles ties if they have winners."""
    rows = np.arange(len(battles)) < count
    answers = object_array(
        [a if same else b for a, b, same in zip(battles.response_a, battles.response_b, rows, strict=True)]
    )
    winner = None if battles.winner is None else np.where(rows, 2, battles.winner)
    return replace(battles, response_b=answers, winner=winner)


TRAIN = with_identical(tiny_battles(60), 12)
NEW = with_identical(tiny_battles(9, first=900, word="new", labelled=False), 3)


@pytest.fixture(scope="module")
def fitted() -> WithEvidence:
    return WithEvidence(build("structure", learner="logistic", groups=["length"])).fit(TRAIN)


def test_only_battles_with_evidence_change(fitted: WithEvidence) -> None:
    plain, corrected = fitted.inner.predict_proba(NEW), fitted.predict_proba(NEW)
    assert corrected[3:].tobytes() == plain[3:].tobytes()
    assert (corrected[:3, 2] > plain[:3, 2] + 0.05).all()
    assert corrected[:3, 2] == pytest.approx((12 + 4 * plain[:3, 2]) / 16)


def test_it_is_saved_and_loaded_with_its_counts(fitted: WithEvidence, tmp_path: Path) -> None:
    save_model(fitted, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, WithEvidence)
    assert again.predict_proba(NEW).tobytes() == fitted.predict_proba(NEW).tobytes()
    (tmp_path / "evidence.json").write_text('{"identical": [0, 0, 1000], "one_empty": [0, 0, 0]}')
    with pytest.raises(UserError, match=r"evidence\.json: not as saved"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["prior", "identity", "pool", "siamese"])
def test_what_it_can_do_is_what_its_model_can_do(name: str) -> None:
    inner = build(name)
    model = WithEvidence(inner)
    for ability in ("symmetric", "learns", "progress", "needs_names", "inputs"):
        assert getattr(model, ability) == getattr(inner, ability)


def test_the_report_says_how_many_battles_gave_evidence(fitted: WithEvidence) -> None:
    assert fitted.report()["evidence"] == {"identical": 12.0, "one_empty": 0.0}
