"""The sparse model learns from training texts alone, uses weights, commutes with swap, finds a planted word."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.errors import UserError
from pairrank.evaluation.scoring import log_loss
from pairrank.models.base import build
from pairrank.models.prior import Prior
from pairrank.models.saving import load_model, save_model
from pairrank.models.sparse import Sparse
from tests.support.battles import WORDS, arena_of_words, plain_battles

SETTINGS = [
    pytest.param({}, id="default"),
    pytest.param({"components": 0}, id="raw"),
    pytest.param({"components": 3, "blocks": "word"}, id="word"),
    pytest.param({"components": 0, "blocks": "character"}, id="character"),
]


@pytest.fixture(scope="module")
def train() -> Battles:
    return arena_of_words(150)


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return arena_of_words(60, seed=1)


@pytest.mark.parametrize("setting", SETTINGS)
def test_swapped_battles_have_swapped_predictions(setting: dict[str, Any], train: Battles, fresh: Battles):
    model = Sparse(**setting).fit(train)
    straight = model.predict_proba(fresh)
    np.testing.assert_allclose(model.predict_proba(fresh.swap())[:, [1, 0, 2]], straight, atol=1e-15)
    # Constant predictions would pass.
    assert straight.std(axis=0).min() > 0.01


def test_the_order_of_the_sides_in_training_does_not_matter(train: Battles, fresh: Battles):
    some = np.arange(len(train)) % 3 == 0
    turned = concatenate([train.take(~some), train.take(some).swap()])
    raw = Sparse(components=0).fit(train).predict_proba(fresh)
    np.testing.assert_allclose(Sparse(components=0).fit(turned).predict_proba(fresh), raw, atol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
def test_planted_words_are_found(setting: dict[str, Any], train: Battles, fresh: Battles):
    prior = log_loss(Prior().fit(train).predict_proba(fresh), fresh.labels)
    proba = Sparse(**{"penalty": 0.5} | setting).fit(train).predict_proba(fresh)
    decided = fresh.labels != 2
    assert log_loss(proba, fresh.labels) < prior - 0.05
    assert (proba[decided, :2].argmax(axis=1) == fresh.labels[decided]).mean() > 0.8


def test_a_word_that_only_unseen_battles_hold_changes_nothing():
    train = arena_of_words(60)
    model = Sparse(blocks="word", word_ngrams=(1, 1)).fit(train)
    strange = ("why one", "good apple zyzzyva", "bad pear zyzzyva")
    # The same number of characters, so that lengths are equal.
    padded = ("why one", "good apple ???????", "bad pear ???????")
    with_word, without = (model.predict_proba(plain_battles(each)) for each in (strange, padded))
    np.testing.assert_array_equal(with_word, without)
    assert all("zyzzyva" not in words.words for words in model.words_)
    # A word that occurs in training battles does change it.
    known = model.predict_proba(plain_battles(("why one", "good apple good???", "bad pear ???????")))
    assert np.abs(known - without).max() > 1e-6


def test_other_battles_do_not_change_a_prediction(train: Battles, fresh: Battles):
    model = Sparse().fit(train)
    whole = model.predict_proba(fresh)
    alone = np.vstack([model.predict_proba(fresh.take(slice(i, i + 1))) for i in range(9)])
    np.testing.assert_array_equal(alone, whole[:9])


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_battle_of_weight_2_equals_that_battle_twice(setting: dict[str, Any], train: Battles, fresh: Battles):
    heavy = np.arange(len(train)) % 4 == 0
    weighted = replace(train, weight=np.where(heavy, 2.0, 1.0))
    again = train.take(heavy)
    twice = concatenate([train, replace(again, id=object_array([f"again{i}" for i in again.id]))])
    one, two, plain = (Sparse(**setting).fit(b).predict_proba(fresh) for b in (weighted, twice, train))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert np.abs(one - plain).max() > 1e-3


def test_the_raw_heads_are_scikit_learns(train: Battles, fresh: Battles):
    # The same model by its definition: dense, in both orders (and so twice the battles), on the same scale.
    def texts(battles: Battles) -> list[list[str]]:
        return [["\n".join(t) for t in c] for c in (battles.prompt, battles.response_a, battles.response_b)]

    distinct = sorted({text for column in texts(train) for text in column})
    counted = TfidfVectorizer(sublinear_tf=True, min_df=3, token_pattern=r"\w+").fit(distinct)  # noqa: S106

    def inputs(battles: Battles) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
        p, a, b = (counted.transform(column).toarray() for column in texts(battles))
        lp, la, lb = (np.log(1 + np.array([len(t) for t in column])) for column in texts(battles))
        ra, rb = (p * a).sum(axis=1), (p * b).sum(axis=1)
        odd = np.stack([la - lb, ra - rb], axis=1)
        even = np.stack([la + lb, abs(la - lb), lp, ra + rb, (a * b).sum(axis=1)], axis=1)
        return [a - b], [a + b, abs(a - b), p], odd, even

    odd_words, even_words, odd, even = inputs(train)
    asked_odd_words, asked_even_words, asked_odd, asked_even = inputs(fresh)
    decided = train.labels != 2

    def scaled(words, counts, rows, centre, seen_words, seen_counts) -> np.ndarray:
        norms = [np.sqrt((block[rows] ** 2).sum(axis=1).mean()) for block in seen_words]
        spread = np.sqrt(((seen_counts[rows] - centre) ** 2).mean(axis=0))
        blocks = [block / norm for block, norm in zip(words, norms, strict=True)]
        return np.hstack([*blocks, np.clip((counts - centre) / spread, -3, 3)])

    every = np.ones(len(train), dtype=bool)
    x = scaled(odd_words, odd, decided, 0, odd_words, odd)[decided]
    first = train.labels[decided] == 0
    margin = LogisticRegression(C=1 / 8, fit_intercept=False, tol=1e-8, max_iter=5000)
    margin.fit(np.vstack([x, -x]), np.concatenate([first, ~first]))
    centre = even.mean(axis=0)
    tie = LogisticRegression(C=1 / 4, tol=1e-8, max_iter=5000)
    tie.fit(scaled(even_words, even, every, centre, even_words, even), train.labels == 2)
    p_first = margin.predict_proba(scaled(asked_odd_words, asked_odd, decided, 0, odd_words, odd))[:, 1]
    p_tie = tie.predict_proba(scaled(asked_even_words, asked_even, every, centre, even_words, even))[:, 1]
    expected = np.stack([(1 - p_tie) * p_first, (1 - p_tie) * (1 - p_first), p_tie], axis=1)
    model = Sparse(components=0, blocks="word", word_ngrams=(1, 1), penalty=4.0).fit(train)
    np.testing.assert_allclose(model.predict_proba(fresh), expected, atol=1e-4)
    v = len(counted.vocabulary_)
    assert model.report() == {"parameters": (v + 2) + (3 * v + 5) + 1, "known_words": v}


def test_components_have_variance_one_over_the_training_texts(train: Battles):
    model = Sparse(components=5, blocks="word").fit(train)
    texts = sorted({"\n".join(t) for c in (train.prompt, train.response_a, train.response_b) for t in c})
    reduced = model.words_[0].vectors(texts) @ model.axes_[0]
    np.testing.assert_allclose(reduced.T @ reduced / len(texts), np.eye(5), atol=0.02)


@pytest.mark.parametrize("components", [0, 4])
@pytest.mark.parametrize(
    "rows",
    [[("", "", "")], [("why", "good", "bad")], [("", "", ""), ("", "", "")]],
    ids=["one empty", "one", "two empty"],
)
def test_very_few_battles_still_give_a_model(rows, components: int, fresh: Battles, tmp_path: Path):
    poor = plain_battles(*rows, winner=[0] * len(rows))
    model = Sparse(components=components).fit(poor)
    proba = model.predict_proba(fresh)
    assert np.isfinite(proba).all()
    assert (proba > 0).all()
    save_model(model, tmp_path)
    np.testing.assert_array_equal(load_model(tmp_path).predict_proba(fresh), proba)


def test_no_battles_are_refused():
    with pytest.raises(UserError, match="no battles to learn from"):
        Sparse().fit(arena_of_words(3).take(slice(0)))


def test_shuffled_winners_give_hardly_any_signal():
    rng = np.random.default_rng(3)
    rows = [tuple(" ".join(rng.choice(WORDS, 8)) for _ in range(3)) for _ in range(400)]
    noise = plain_battles(*rows, winner=rng.integers(0, 3, 400).tolist())
    train, unseen = noise.take(slice(300)), noise.take(slice(300, None))
    proba = Sparse(penalty=100.0).fit(train).predict_proba(unseen)
    prior = Prior().fit(train).predict_proba(unseen)
    assert log_loss(proba, unseen.labels) > log_loss(prior, unseen.labels) - 0.02


@pytest.mark.parametrize(
    "setting",
    [
        {"word_ngrams": (2, 1)},
        {"word_ngrams": (1,)},
        {"character_ngrams": (0, 2)},
        {"min_count": 0},
        {"most": 0},
        {"characters": 0},
        {"components": -1},
        {"penalty": 0.0},
        {"clip": 0.0},
        {"seed": -1},
    ],
)
def test_hyperparameters_out_of_bounds_are_refused_before_any_work(setting: dict[str, Any]):
    with pytest.raises(UserError, match=f"{next(iter(setting))} = "):
        Sparse(**setting)


def test_its_experiment_file_holds_only_differences_from_the_defaults():
    file = Path(__file__).parents[2] / "experiments" / "sparse.toml"
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    settings = table["model"]
    assert build(settings.pop("name"), **settings) == Sparse(**settings)
    assert all(getattr(Sparse(), key) != value for key, value in settings.items())
