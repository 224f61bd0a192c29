"""The author classifier is a logistic model of one answer that finds habits and uses nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, concatenate, evenly_spaced, object_array
from pairrank.errors import UserError
from pairrank.features import authorship
from pairrank.features.authorship import CLIP, VECTOR_LENGTH, fit_author_classifier, load_author_classifier
from pairrank.features.parsed_text import ParsedText
from pairrank.features.sides import SIDES
from tests.support.battles import HABITS, chatter


@pytest.fixture(scope="module")
def train() -> Battles:
    return chatter()


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return chatter(25, seed=1)


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_model_is_recognised_by_its_habits(side, train: Battles, fresh: Battles):
    classifier = fit_author_classifier(train)
    assert classifier.classes == (("lister",), ("polite",), ("quiet",), ("shouter",))
    guessed = [classifier.classes[i][0] for i in classifier.proba(fresh, side).argmax(axis=1)]
    assert np.mean(guessed == getattr(fresh, f"model_{side}")) > 0.95


def test_shuffled_names_give_probabilities_near_the_prior(train: Battles, fresh: Battles):
    rng = np.random.default_rng(0)
    names = rng.permutation(np.concatenate([train.model_a, train.model_b]))
    lost = replace(train, model_a=names[: len(train)], model_b=names[len(train) :])
    proba = fit_author_classifier(lost).proba(fresh, "a")
    place = {"lister": 0, "polite": 1, "quiet": 2, "shouter": 3}
    right = proba[np.arange(len(fresh)), [place[name] for name in fresh.model_a]]
    assert -np.log(right).mean() > np.log(4) - 0.15


def test_probabilities_equal_the_formula(train: Battles, fresh: Battles):
    """The oracle is softmax(W' x + b) in dense arithmetic, with measurements and word vectors of single answers."""
    classifier = fit_author_classifier(train)
    rows = []
    for prompt, answer in zip(fresh.prompt, fresh.response_b, strict=True):
        said, asked = ParsedText(answer), ParsedText(prompt)
        measured = np.array([value for measure in SIDES.values() for value in measure(said, asked).values()])
        scaled = np.clip((measured - classifier.centre) / classifier.scale, -CLIP, CLIP)
        vectors = [part.vectors([answer[0]]).toarray()[0] for part in (classifier.words, classifier.openings)]
        rows.append(np.concatenate([scaled, *(VECTOR_LENGTH * vector for vector in vectors)]))
    odds = np.exp(np.array(rows) @ classifier.weights + classifier.intercept)
    assert classifier.proba(fresh, "b") == pytest.approx(odds / odds.sum(axis=1, keepdims=True), abs=1e-9)


def test_the_gradient_of_the_penalised_loss_vanishes_at_the_fit(train: Battles):
    """The gradient of sum weight x -log p + penalty / 2 |w|^2 is 0; intercepts have no penalty."""
    heavy = replace(train, weight=np.random.default_rng(0).uniform(0.5, 2, len(train)))
    classifier = fit_author_classifier(heavy, penalty=7.0)
    missed = [
        np.array([[name in members for members in classifier.classes] for name in getattr(heavy, f"model_{side}")])
        - classifier.proba(heavy, side)
        for side in ("a", "b")
    ]
    slope = sum(np.sum(heavy.weights[:, None] * each, axis=0) for each in missed)
    assert np.abs(slope).max() < 0.02
    # The gradient of one word's weight: its value in every answer times the residual of that answer.
    column = len(classifier.centre) + classifier.words.words.index("VERY")
    pulls = np.zeros(4)
    for each, texts in zip(missed, (heavy.response_a, heavy.response_b), strict=True):
        values = VECTOR_LENGTH * classifier.words.vectors([turns[0] for turns in texts]).toarray()
        pulls += (heavy.weights * values[:, classifier.words.words.index("VERY")]) @ each
    assert pulls == pytest.approx(7.0 * classifier.weights[column], abs=0.05)
    assert np.abs(pulls).max() > 0.2


def test_a_row_does_not_depend_on_other_rows_or_on_its_side(train: Battles, fresh: Battles):
    classifier = fit_author_classifier(train)
    whole = classifier.proba(fresh, "a")
    assert whole.sum(axis=1) == pytest.approx(1, abs=1e-12)
    alone = np.vstack([classifier.proba(fresh.take(slice(i, i + 1)), "a") for i in range(len(fresh))])
    assert np.array_equal(alone, whole)
    assert np.array_equal(classifier.proba(fresh.swap(), "b"), whole)
    assert classifier.proba(fresh.take(slice(0)), "a").shape == (0, 4)


def test_winners_and_the_names_of_predicted_battles_are_not_used(train: Battles, fresh: Battles):
    expected = fit_author_classifier(train).proba(fresh, "a")
    blind = fit_author_classifier(replace(train, winner=None))
    assert np.array_equal(blind.proba(replace(fresh, model_a=None, model_b=None, winner=None), "a"), expected)


def test_a_battle_of_weight_2_equals_the_battle_twice(train: Battles, fresh: Battles):
    some = np.arange(len(train)) < 20
    heavy = replace(train, weight=np.where(some, 2.0, 1.0))
    twice = concatenate([train, train.take(some)])
    one, two = (fit_author_classifier(each).proba(fresh, "a") for each in (heavy, twice))
    assert two == pytest.approx(one, abs=2e-3)
    assert np.abs(fit_author_classifier(train).proba(fresh, "a") - one).max() > 0.01


def test_a_large_table_gives_the_classifier_of_some_of_its_battles(train: Battles, fresh: Battles, monkeypatch):
    some = fit_author_classifier(evenly_spaced(train, 50)).proba(fresh, "a")
    whole = fit_author_classifier(train).proba(fresh, "a")
    monkeypatch.setattr(authorship, "MOST_BATTLES", 50)
    assert np.array_equal(fit_author_classifier(train).proba(fresh, "a"), some)
    assert not np.array_equal(some, whole)


def test_of_a_large_table_battles_with_a_name_are_used(train: Battles, fresh: Battles, monkeypatch):
    monkeypatch.setattr(authorship, "MOST_BATTLES", 50)
    expected = fit_author_classifier(train).proba(fresh, "a")
    nameless = object_array([""] * 300)
    others = replace(chatter(300, 2), model_a=nameless, model_b=nameless)
    assert np.array_equal(fit_author_classifier(concatenate([others, train])).proba(fresh, "a"), expected)


def test_answers_without_a_name_contribute_words_but_no_author(train: Battles, fresh: Battles):
    strange = replace(chatter(30, 2, {"x": "zebra zebra"}), model_a=object_array([""] * 30), model_b=None)
    both = replace(
        concatenate([replace(train, model_a=None, model_b=None), replace(strange, model_a=None)]),
        model_a=np.concatenate([train.model_a, [""] * 30]),
        model_b=np.concatenate([train.model_b, [""] * 30]),
    )
    classifier = fit_author_classifier(both)
    assert classifier.classes == fit_author_classifier(train).classes
    assert "zebra" in classifier.words.words
    assert "zebra" not in fit_author_classifier(train).words.words
    column = len(classifier.centre) + classifier.words.words.index("zebra")
    assert np.abs(classifier.weights[column]).max() < 1e-9


def test_a_named_answer_is_used_even_if_the_other_has_no_name(train: Battles, fresh: Battles):
    half = replace(train, model_b=None)
    assert len(fit_author_classifier(half, fewest=1).classes) == 4


def test_models_with_too_few_answers_share_one_class(train: Battles, fresh: Battles):
    counts = {name: int(sum(train.model_a == name) + sum(train.model_b == name)) for name in HABITS}
    fewest = sorted(counts.values())[2]
    often = sorted(name for name in counts if counts[name] >= fewest)
    seldom = tuple(sorted(set(counts) - set(often)))
    assert len(seldom) >= 2
    classifier = fit_author_classifier(train, fewest=fewest)
    assert classifier.classes == (*((name,) for name in often), seldom)
    assert classifier.proba(fresh, "a").shape == (len(fresh), len(often) + 1)
    # Weights are summed, so ten battles of weight 0.1 count as one.
    assert fit_author_classifier(replace(train, weight=np.full(len(train), 0.1))).classes == (
        tuple(sorted(HABITS)),
    )


@pytest.mark.parametrize("count", [0, 1, 2])
def test_one_or_two_authors_are_enough(count: int, fresh: Battles):
    habits = dict(list(HABITS.items())[:count]) or {"": "nobody"}
    classifier = fit_author_classifier(chatter(20, habits=habits), fewest=1)
    proba = classifier.proba(fresh, "a")
    assert proba.shape == (len(fresh), max(1, count))
    assert proba.sum(axis=1) == pytest.approx(1)
    if count == 2:
        polite = fresh.model_a == "polite"
        assert proba[polite, 0].min() > proba[fresh.model_a == "shouter", 0].max()


def test_a_fit_without_battles_has_one_class_without_models(train: Battles, fresh: Battles):
    classifier = fit_author_classifier(train.take(slice(0)))
    assert classifier.classes == ((),)
    assert np.array_equal(classifier.proba(fresh, "a"), np.ones((len(fresh), 1)))


def test_a_saved_classifier_predicts_exactly_the_same(train: Battles, fresh: Battles, tmp_path: Path):
    classifier = fit_author_classifier(train)
    classifier.save(tmp_path)
    again = load_author_classifier(tmp_path)
    assert again.classes == classifier.classes
    assert np.array_equal(again.proba(fresh, "a"), classifier.proba(fresh, "a"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_all_settings_out_of_bounds_are_reported_together(train: Battles):
    with pytest.raises(UserError, match=r"fewest = 0: expected 1 or more\. penalty = 0: expected .*above 0\."):
        fit_author_classifier(train, fewest=0, penalty=0)
