"""The model `identity` predicts from the names of the models alone, as a diagnostic."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles
from pairrank.errors import UserError
from pairrank.features.ratings import fit_ratings
from pairrank.models.base import build
from pairrank.models.identity import Identity
from pairrank.models.saving import load_model, save_model
from tests.support.battles import battles_by_strength


@pytest.fixture(scope="module")
def train() -> Battles:
    return battles_by_strength()


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return battles_by_strength(30, seed=9)


def test_a_penalty_of_zero_is_refused():
    with pytest.raises(UserError, match=r"model 'identity': penalty = 0\.0: expected a number above 0"):
        build("identity", penalty=0)


def test_it_is_davidsons_model_of_the_names(train: Battles, fresh: Battles):
    model = Identity(penalty=3.0).fit(train)
    ratings = fit_ratings(train, 3.0)
    proba = model.predict_proba(fresh)
    strength = dict(zip(ratings.models, ratings.strength, strict=True)) | {"": 0.0}
    for row, (a, b) in enumerate(zip(fresh.model_a, fresh.model_b, strict=True)):
        pi_a, pi_b = np.exp([strength[a], strength[b]])
        tie = np.exp(ratings.log_nu) * np.sqrt(pi_a * pi_b)
        assert proba[row] == pytest.approx(np.array([pi_a, pi_b, tie]) / (pi_a + pi_b + tie))
    assert np.array_equal(model.predict_proba(fresh.swap()), proba[:, [1, 0, 2]])
    wordless = replace(fresh, response_a=fresh.prompt, response_b=fresh.prompt)
    assert np.array_equal(model.predict_proba(wordless), proba)
    assert model.report()["parameters"] == 5


def test_without_names_it_predicts_the_share_of_ties(train: Battles, fresh: Battles):
    nameless = replace(train, model_a=None, model_b=None)
    tie = (train.labels == 2).sum() + 1
    expected = tie / (len(train) + 3)
    proba = Identity().fit(nameless).predict_proba(fresh)
    assert proba[:, 2] == pytest.approx(expected)
    assert np.array_equal(proba[:, 0], proba[:, 1])


def test_a_saved_model_predicts_exactly_the_same(train: Battles, fresh: Battles, tmp_path: Path):
    model = Identity().fit(train)
    save_model(model, tmp_path)
    assert np.array_equal(load_model(tmp_path).predict_proba(fresh), model.predict_proba(fresh))


def test_its_experiment_makes_no_submission():
    file = Path(__file__).parents[2] / "experiments" / "identity.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    assert table["submittable"] is False
    assert table["model"] == {"name": "identity"}
