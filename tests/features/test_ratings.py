"""Strengths agree with three other ways to fit the models of Bradley and Terry and of Davidson."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.errors import UserError
from pairrank.features.ratings import Ratings, fit_ratings, has_both_names, load_ratings


def duels(*rows: tuple[str, str, int], weight: list[float] | None = None) -> Battles:
    """Battles without text from rows (model A, model B, winner)."""
    a, b, winner = zip(*rows, strict=True) if rows else ((), (), ())
    empty = object_array([("",)] * len(rows))
    return Battles(
        id=object_array([str(i) for i in range(len(rows))]),
        prompt=empty,
        response_a=empty,
        response_b=empty,
        model_a=object_array(list(a)),
        model_b=object_array(list(b)),
        winner=np.array(winner, dtype=np.int64),
        weight=None if weight is None else np.array(weight),
    )


def league(n: int = 400, k: int = 5, seed: int = 0) -> Battles:
    """n battles of k models with different strengths, sampled from Davidson's model with nu = 1."""
    rng = np.random.default_rng(seed)
    true = np.linspace(1, -1, k)
    rows = []
    for _ in range(n):
        a, b = rng.choice(k, 2, replace=False)
        p = np.array([np.exp(true[a]), np.exp(true[b]), np.exp((true[a] + true[b]) / 2)])
        rows.append((f"m{a}", f"m{b}", int(rng.choice(3, p=p / p.sum()))))
    return duels(*rows, weight=rng.uniform(0.2, 3, n).tolist())


def davidson_loss(battles: Battles, penalty: float) -> Callable[[np.ndarray], float]:
    """The penalised loss of (k strengths, log nu) in the notation of the paper, with products of pi."""
    models = sorted({*battles.model_a, *battles.model_b})
    weights = np.ones(len(battles)) if battles.weight is None else battles.weight

    def loss(position: np.ndarray) -> float:
        pi, nu = dict(zip(models, np.exp(position[:-1]), strict=True)), np.exp(position[-1])
        total = 0.0
        for a, b, winner, weight in zip(battles.model_a, battles.model_b, battles.labels, weights, strict=True):
            tie = nu * np.sqrt(pi[a] * pi[b])
            total -= weight * np.log([pi[a], pi[b], tie][winner] / (pi[a] + pi[b] + tie))
        return total + penalty / 2 * (position**2).sum()

    return loss


def numeric_hessian(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    unit = np.eye(len(at)) * step
    return np.array(
        [
            [
                (loss(at + u + v) - loss(at + u - v) - loss(at - u + v) + loss(at - u - v)) / (4 * step**2)
                for u in unit
            ]
            for v in unit
        ]
    )


def position_of(found: Ratings) -> np.ndarray:
    return np.array([*found.strength, found.log_nu])


# Strengths


def test_fit_without_ties_and_penalty_equals_evalicas_bradley_terry():
    battles = replace(league(), weight=None)
    found = fit_ratings(battles, penalty=0, ties=False)
    decided = battles.labels != 2
    winners = [evalica.Winner.X if winner == 0 else evalica.Winner.Y for winner in battles.labels[decided]]
    theirs = evalica.bradley_terry(
        battles.model_a[decided].tolist(),
        battles.model_b[decided].tolist(),
        winners,
        tolerance=1e-13,
        limit=100_000,
    ).scores
    logs = np.log([theirs[model] for model in found.models])
    assert found.strength == pytest.approx(logs - logs.mean(), abs=1e-6)
    assert found.log_nu is None
    assert sum(found.ties) == 0


@pytest.mark.parametrize("penalty", [0.0, 0.5, 20.0])
def test_fit_with_ties_maximises_davidsons_likelihood(penalty: float):
    battles = league(200, 4)
    loss = davidson_loss(battles, penalty)
    top = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-6})
    strength = top.x[:-1] - top.x[:-1].mean()
    found = fit_ratings(battles, penalty)
    assert position_of(found) == pytest.approx([*strength, top.x[-1]], abs=1e-5)
    assert sum(found.strength) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("penalty", [0.3, 5.0])
def test_errors_are_the_inverse_of_a_numeric_hessian(penalty: float):
    battles = league(150, 4)
    found = fit_ratings(battles, penalty)
    hessian = numeric_hessian(davidson_loss(battles, penalty), position_of(found))
    spread, k = np.linalg.inv(hessian)[:-1, :-1], len(found.models)
    # The variance of a strength minus the mean, because battles do not determine a common shift.
    expected = [spread[i, i] - 2 * spread[i].sum() / k + spread.sum() / k**2 for i in range(k)]
    assert found.error == pytest.approx(np.sqrt(expected), rel=1e-4)


def test_errors_of_a_tiny_penalty_are_those_without_a_penalty():
    battles = league(150, 4)
    assert fit_ratings(battles, 1e-6).error == pytest.approx(fit_ratings(battles, 0).error, rel=1e-3)


def test_errors_without_a_penalty_are_relative_to_the_mean():
    """The usual method: fix the last strength at 0, invert the remaining matrix, then subtract the mean."""
    battles = league(150, 4)
    found = fit_ratings(battles, 0)
    hessian = numeric_hessian(davidson_loss(battles, 0), position_of(found))
    free = [0, 1, 2, 4]
    spread = np.zeros((4, 4))
    spread[:3, :3] = np.linalg.inv(hessian[np.ix_(free, free)])[:3, :3]
    centring = np.eye(4) - 1 / 4
    assert found.error == pytest.approx(np.sqrt(np.diag(centring @ spread @ centring.T)), rel=1e-4)


def test_true_strengths_are_within_their_errors_with_the_right_frequency():
    true = np.linspace(1, -1, 5)
    scores = []
    for seed in range(40):
        found = fit_ratings(replace(league(300, seed=seed), weight=None), 0)
        scores += ((np.array(found.strength) - true) / found.error).tolist()
    # 200 scores, nearly standard normal: about 95 % within 1.96.
    assert 0.89 < np.mean(np.abs(scores) < 1.96) < 0.99
    assert np.std(scores) == pytest.approx(1, abs=0.2)


def test_a_penalty_shrinks_strengths_and_battles_shrink_errors():
    spreads = [np.std(fit_ratings(league(), penalty).strength) for penalty in (0, 1, 10, 1e6)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 1e-3
    few, many = (fit_ratings(league(n), 1.0) for n in (60, 600))
    assert max(many.error) < min(few.error)


NAMES = st.sampled_from(["x", "y", "z", "", "Ä 1"])
ROWS = st.lists(st.tuples(NAMES, NAMES, st.integers(0, 2)), max_size=12)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from([0.01, 2.0]), st.booleans())
def test_strengths_of_any_battles_are_finite_and_unchanged_by_a_swap(rows: list[Any], penalty: float, ties: bool):
    battles = duels(*rows)
    found, swapped = (fit_ratings(each, penalty, ties) for each in (battles, battles.swap()))
    assert np.isfinite([*found.strength, *found.error, found.log_nu or 0]).all()
    assert swapped.strength == pytest.approx(found.strength, abs=1e-7)
    assert swapped.error == pytest.approx(found.error, abs=1e-7)
    assert swapped.log_nu == pytest.approx(found.log_nu, abs=1e-7)
    counts = [(each.models, each.battles, each.wins, each.ties) for each in (found, swapped)]
    assert counts[0] == counts[1]
    used = [row for row in rows if row[0] and row[1] and (ties or row[2] != 2)]
    assert set(found.models) == {name for row in used for name in row[:2]}
    assert sum(found.battles) == 2 * len(used)
    assert sum(found.wins) == sum(winner != 2 for *_, winner in used)


@settings(deadline=None, max_examples=30)
@given(ROWS, st.integers(0, 11))
def test_a_battle_of_weight_2_equals_the_battle_twice(rows: list[Any], which: int):
    heavy = duels(*rows, weight=[2.0 if i == which else 1.0 for i in range(len(rows))])
    twice = duels(*rows, *rows[which : which + 1])
    one, two = fit_ratings(heavy, 0.7), fit_ratings(twice, 0.7)
    assert two.strength == pytest.approx(one.strength, abs=1e-7)
    assert two.error == pytest.approx(one.error, abs=1e-7)


def test_only_battles_that_name_both_models_are_used():
    rows = [("x", "y", 0), ("x", "", 1), ("", "", 2), ("y", "x", 2)]
    assert has_both_names(duels(*rows)).tolist() == [True, False, False, True]
    assert fit_ratings(duels(*rows)) == fit_ratings(duels(rows[0], rows[3]))
    nameless = replace(duels(*rows), model_a=None, model_b=None)
    assert not has_both_names(nameless).any()
    assert fit_ratings(nameless).models == ()


def test_a_model_against_itself_informs_about_ties_only():
    plain = league(100)
    more = fit_ratings(concatenate([plain, duels(*[("m0", "m0", 2)] * 30, weight=[1.0] * 30)]), 0.0)
    assert more.log_nu > fit_ratings(plain, 0.0).log_nu
    only = fit_ratings(duels(("x", "x", 0), ("x", "x", 2)))
    assert only.strength == (0.0,)


# Battles without finite strengths


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param([("x", "y", 0), ("y", "z", 0), ("z", "y", 0), ("y", "z", 2)], "Affected: x", id="only-won"),
        pytest.param([("x", "y", 0), ("y", "x", 0)], "Affected: ties", id="no-tie"),
        pytest.param([("x", "y", 2), ("y", "z", 2)], "strengths are infinite", id="only-ties"),
        # x wins or ties: a larger strength with more ties makes both more likely.
        pytest.param([("x", "y", 0), ("x", "y", 2)], "strengths are infinite", id="won-and-tied"),
        pytest.param(
            [(a, b, w) for a, b in (("x", "y"), ("u", "v")) for w in (0, 1, 2)],
            "groups that never met",
            id="groups",
        ),
    ],
)
def test_infinite_strengths_are_refused_without_a_penalty_and_finite_with_one(rows: list[Any], words: str):
    with pytest.raises(UserError, match=words) as error:
        fit_ratings(duels(*rows), penalty=0)
    assert "penalty above 0" in str(error.value)
    found = fit_ratings(duels(*rows), penalty=0.01)
    assert np.isfinite(position_of(found)).all()
    assert np.isfinite(found.error).all()


def test_finite_strengths_are_not_refused_without_a_penalty():
    # y and z met only indirectly, through x; z never won but has a tie.
    rows = [("x", "y", 0), ("y", "x", 0), ("z", "x", 2), ("x", "y", 2)]
    top = minimize(davidson_loss(duels(*rows), 0), np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    assert fit_ratings(duels(*rows), 0).strength == pytest.approx(top.x[:3] - top.x[:3].mean(), abs=1e-4)


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), float("inf")])
def test_a_penalty_out_of_bounds_is_refused(penalty: float):
    with pytest.raises(UserError, match="expected 0 or more"):
        fit_ratings(league(20), penalty)


# Predictions


def test_probabilities_are_those_of_davidsons_model():
    found = fit_ratings(league())
    assert found.log_nu is not None
    pi, nu = dict(zip(found.models, np.exp(found.strength), strict=True)), np.exp(found.log_nu)
    products = np.array([pi["m0"], pi["m3"], nu * np.sqrt(pi["m0"] * pi["m3"])])
    assert found.proba(["m0"], ["m3"])[0] == pytest.approx(products / products.sum())
    straight, swapped = found.proba(["m0", "?"], ["m3", "m1"]), found.proba(["m3", "m1"], ["m0", "?"])
    assert np.array_equal(straight, swapped[:, [1, 0, 2]])
    assert found.proba([], []).shape == (0, 3)
    without = fit_ratings(league(), ties=False)
    margin = np.subtract(*without.strengths_of(["m0", "m3"])[0])
    expected = 1 / (1 + np.exp(-margin))
    assert without.proba(["m0"], ["m3"])[0] == pytest.approx([expected, 1 - expected, 0])


def test_an_unknown_model_has_strength_0_and_the_error_of_the_prior():
    strength, error = fit_ratings(league(), 4.0).strengths_of(["nobody", "", "m1"])
    assert strength[:2].tolist() == [0, 0]
    assert error[:2].tolist() == [0.5, 0.5]
    assert error[2] < 0.5
    assert fit_ratings(league(), 0).strengths_of(["nobody"])[1][0] == float("inf")


def test_ratings_are_restored_from_json():
    found = fit_ratings(league())
    assert load_ratings(json.loads(json.dumps(asdict(found), allow_nan=False))) == found
