"""A battle's strengths never depend on its own result, its side or other rows."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pairrank.data.battles import Battles, object_array
from pairrank.data.folds import assign_folds
from pairrank.errors import UserError
from pairrank.features.authorship import fit_author_classifier
from pairrank.features.counting import Features
from pairrank.features.model_strengths import fit_model_strengths, load_model_strengths
from pairrank.features.ratings import fit_ratings
from tests.support.battles import HABITS, battles_by_strength, chatter

KINDS = ["true", "guessed"]


@pytest.fixture(scope="module")
def train() -> Battles:
    return battles_by_strength()


@pytest.fixture(scope="module")
def fresh() -> Battles:
    return battles_by_strength(30, seed=9)


def whole(columns: Features) -> np.ndarray:
    return np.hstack([columns.odd, columns.even])


def flipped(battles: Battles, row: int) -> Battles:
    winner = battles.labels.copy()
    winner[row] = (winner[row] + 1) % 3
    return replace(battles, winner=winner)


# Independence of a battle's own result


@pytest.mark.parametrize("kind", KINDS)
def test_columns_do_not_depend_on_the_battles_own_winner(kind: Any, train: Battles):
    rows = np.flatnonzero((train.model_a != "") & (train.model_a != train.model_b))[:3]
    before, _ = fit_model_strengths(train, kind)
    fold = assign_folds(train, 5, salt="identity")
    for row in rows:
        after, _ = fit_model_strengths(flipped(train, row), kind)
        same = (whole(after) == whole(before)).all(axis=1)
        assert same[fold == fold[row]].all()
        assert same[row]
        # It does change other battles' columns, so the test is not vacuous.
        assert not same[fold != fold[row]].all()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_do_not_depend_on_battles_of_the_same_prompt(kind: Any, train: Battles):
    prompt = train.prompt.copy()
    prompt[:4] = [("The same",), (" the SAME ",), ("The same",), ("The same", "and on")]
    twins = replace(train, prompt=object_array(prompt.tolist()))
    before, after = (fit_model_strengths(each, kind)[0] for each in (twins, flipped(twins, 0)))
    assert np.array_equal(whole(after)[:4], whole(before)[:4])


def test_guesses_do_not_depend_on_the_battles_own_names(train: Battles):
    """Another name of a battle does not change the guesses for the battle itself."""
    row = int(np.flatnonzero(train.model_a != "")[0])
    other = train.model_a.copy()
    other[row] = next(name for name in HABITS if name not in (train.model_a[row], train.model_b[row]))
    before, after = (fit_model_strengths(each, "guessed")[0] for each in (train, replace(train, model_a=other)))
    assert np.array_equal(whole(after)[row], whole(before)[row])
    assert not np.array_equal(whole(after), whole(before))


def test_true_columns_are_the_ratings_of_the_other_inner_folds(train: Battles):
    columns, strengths = fit_model_strengths(train, "true", penalty=1.5)
    fold = assign_folds(train, 5, salt="identity")
    for row in range(0, len(train), 7):
        ratings = fit_ratings(train.take(fold != fold[row]), 1.5)
        known = dict(zip(ratings.models, zip(ratings.strength, ratings.error, strict=True), strict=True))
        nobody = (0.0, 1.5**-0.5)
        (a, error_a), (b, error_b) = (known.get(name[row], nobody) for name in (train.model_a, train.model_b))
        count = float(train.model_a[row] in known) + float(train.model_b[row] in known)
        assert columns.odd[row] == pytest.approx([a - b])
        expected = [a + b, abs(a - b), error_a + error_b, abs(error_a - error_b), count]
        assert columns.even[row] == pytest.approx(expected)
    assert strengths.ratings == fit_ratings(train, 1.5)
    assert columns.odd_names == ("identity.true.strength",)
    assert len(columns.even_names) == columns.even.shape[1] == 5


def test_guessed_columns_are_expected_strengths_and_their_spread(train: Battles, fresh: Battles):
    counts = sorted(sum(name == np.concatenate([train.model_a, train.model_b])) for name in HABITS)
    _, strengths = fit_model_strengths(train, "guessed", fewest=counts[2])
    columns = strengths.columns(fresh)
    classifier, ratings = fit_author_classifier(train, fewest=counts[2]), fit_ratings(train)
    known = dict(zip(ratings.models, ratings.strength, strict=True))
    strength = [np.mean([known[name] for name in members]) for members in classifier.classes]
    assert max(map(len, classifier.classes)) > 1
    moments = []
    for side in ("a", "b"):
        proba = classifier.proba(fresh, side)
        mean, square = proba @ strength, proba @ np.square(strength)
        moments.append((mean, np.sqrt(square - mean**2)))
    (a, unsure_a), (b, unsure_b) = moments
    assert columns.odd[:, 0] == pytest.approx(a - b)
    expected = [a + b, np.abs(a - b), unsure_a + unsure_b, np.abs(unsure_a - unsure_b)]
    assert columns.even == pytest.approx(np.stack(expected, axis=1), abs=1e-7)


def training_loss(x: np.ndarray, battles: Battles) -> float:
    """Return the accuracy with which one odd column predicts the winners of decided battles."""
    decided = battles.labels != 2
    x, first = x[decided], battles.labels[decided] == 0
    fitted = LogisticRegression(C=1e6, fit_intercept=False).fit(np.vstack([x, -x]), np.concatenate([first, ~first]))
    return float(-fitted.predict_log_proba(x)[np.arange(len(x)), first.astype(int)].mean())


def naive_loss(x: np.ndarray, battles: Battles) -> float:
    """Return the log loss on decided battles if one odd column is taken for a difference of strengths."""
    decided = battles.labels != 2
    favour = np.where(battles.labels == 0, 1, -1)[decided] * x[decided, 0]
    return float(np.logaddexp(0, -favour).mean())


@pytest.mark.parametrize(("kind", "shuffles"), [("true", 8), ("guessed", 4)])
def test_columns_do_not_leak_and_a_leak_would_be_detected(kind: Any, shuffles: int):
    """With random winners, only strengths fitted with a battle's own winner seem to predict it.

    There are many models with few battles each, so that one winner matters, and each has a distinct habit.
    """
    battles = chatter(150, 4, {f"m{i:02}": f"habit{i:02} " * 4 for i in range(25)})
    losses = []
    for seed in range(shuffles):
        winners, other = np.random.default_rng(seed).integers(0, 3, (2, 150))
        shuffled = replace(battles, winner=winners)
        clean, strengths = fit_model_strengths(shuffled, kind, penalty=0.5, fewest=2)
        leaky = strengths.columns(shuffled)
        naive = [naive_loss(columns.odd, shuffled) for columns in (leaky, clean)]
        trained = [training_loss(columns.odd, shuffled) for columns in (leaky, clean)]
        losses.append([*naive, *trained, training_loss(leaky.odd, replace(battles, winner=other))])
    naive_leaky, naive_clean, trained_leaky, trained_clean, leaky_fresh = np.mean(losses, axis=0)
    chance = np.log(2)
    assert naive_leaky < chance - 0.08
    assert naive_clean > chance
    # A model trained on leaking columns scores better than without the leak, and better than on new battles.
    assert trained_leaky < trained_clean - 0.08
    assert min(trained_clean, leaky_fresh) > chance - 0.03


# Columns


@pytest.mark.parametrize("kind", KINDS)
def test_columns_predict_winners(kind: Any, train: Battles):
    clean, _ = fit_model_strengths(train, kind)
    named = train.model_a != ""
    rows = named if kind == "true" else np.ones(len(train), dtype=bool)
    assert training_loss(clean.odd[rows], train.take(rows)) < np.log(2) - 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_swap_negates_odd_columns_and_keeps_even_ones(kind: Any, train: Battles, fresh: Battles):
    columns, strengths = fit_model_strengths(train, kind)
    straight, swapped = strengths.columns(fresh), strengths.columns(fresh.swap())
    assert np.array_equal(swapped.odd, -straight.odd)
    assert np.array_equal(swapped.even, straight.even)
    back, _ = fit_model_strengths(train.swap(), kind)
    assert back.odd == pytest.approx(-columns.odd, abs=2e-3)
    assert back.even == pytest.approx(columns.even, abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_other_rows(kind: Any, train: Battles, fresh: Battles):
    _, strengths = fit_model_strengths(train, kind)
    together = whole(strengths.columns(fresh))
    alone = [whole(strengths.columns(fresh.take(slice(i, i + 1))))[0] for i in range(len(fresh))]
    assert np.array_equal(np.array(alone), together)
    assert np.isfinite(together).all()
    assert whole(strengths.columns(fresh.take(slice(0)))).shape == (0, together.shape[1])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_strengths_give_exactly_the_same_columns(kind: Any, train: Battles, fresh: Battles, tmp_path: Path):
    _, strengths = fit_model_strengths(train, kind)
    strengths.save(tmp_path)
    again = load_model_strengths(tmp_path)
    assert again.kind == strengths.kind == kind
    assert np.array_equal(whole(again.columns(fresh)), whole(strengths.columns(fresh)))
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors"}


def test_guesses_need_no_names_and_true_columns_count_known_names(train: Battles, fresh: Battles):
    nameless = replace(fresh, model_a=None, model_b=None, winner=None)
    _, guessed = fit_model_strengths(train, "guessed")
    assert np.array_equal(whole(guessed.columns(nameless)), whole(guessed.columns(fresh)))
    _, true = fit_model_strengths(train, "true")
    columns = true.columns(nameless)
    assert not columns.odd.any()
    assert not columns.even[:, columns.even_names.index("identity.true.known")].any()
    half = replace(fresh, model_b=None)
    known = true.columns(half).even[:, columns.even_names.index("identity.true.known")]
    assert np.array_equal(known, (half.model_a != "").astype(float))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_battles_and_missing_names_give_finite_columns(kind: Any, count: int, train: Battles, fresh: Battles):
    for some in (train.take(slice(count)), replace(train.take(slice(count)), model_a=None, model_b=None)):
        columns, strengths = fit_model_strengths(some, kind)
        assert whole(columns).shape[0] == count
        assert np.isfinite(whole(columns)).all()
        assert np.isfinite(whole(strengths.columns(fresh))).all()


def test_a_penalty_of_zero_is_refused(train: Battles):
    with pytest.raises(UserError, match="penalty = 0: expected a number above 0"):
        fit_model_strengths(train, "true", penalty=0)


def test_another_salt_changes_the_features_of_training_battles_alone(train: Battles):
    (usual, fitted), (same, _), (other, refitted) = (
        fit_model_strengths(train, "true", **given) for given in ({}, {"salt": "identity"}, {"salt": "other"})
    )
    assert np.array_equal(usual.odd, same.odd)
    assert not np.array_equal(usual.odd, other.odd)
    assert asdict(fitted.ratings) == asdict(refitted.ratings)
