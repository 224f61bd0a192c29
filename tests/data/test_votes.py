"""Votes on one pair of answers become one battle, on whichever side each vote saw the answers."""

from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.battles import Battles, Winner, object_array
from pairrank.data.votes import VoteSettings, aggregate, apply_votes
from pairrank.errors import UserError

A, B, TIE = Winner
WORDS = ("x", "y", "z")


def voted(*votes: tuple[str, str, str, int], **columns: Any) -> Battles:
    """Battles from (prompt, answer A, answer B, winner)."""
    prompt, a, b, winner = zip(*votes, strict=True)
    texts = (object_array([(text,) for text in column]) for column in (prompt, a, b))
    ids = object_array([str(i) for i in range(len(votes))])
    return Battles(ids, *texts, winner=np.array(winner, dtype=np.int64), **columns)


@st.composite
def random_votes(draw: st.DrawFn) -> Battles:
    """Votes on few texts, so that most pairs have several, with every column of a vote."""
    word = st.sampled_from(WORDS)
    votes = draw(st.lists(st.tuples(st.sampled_from("pq"), word, word, st.integers(0, 2)), min_size=1, max_size=12))
    count = len(votes)

    def some(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    winner = np.array([vote[3] for vote in votes])
    return voted(
        *votes,
        model_a=object_array([f"m{vote[1]}" for vote in votes]),
        model_b=object_array([f"m{vote[2]}" for vote in votes]),
        judge=object_array(some(st.sampled_from("jk"))),
        strength=np.array(some(st.sampled_from([0, 0.25, 1.0]))) * np.array([1.0, -1.0, 0.0])[winner],
        both_bad=np.array(some(st.booleans()), dtype=bool) & (winner == TIE),
        weight=np.array(some(st.sampled_from([0.5, 1.0, 2.0]))),
    )


def pair_of(battles: Battles, row: int) -> tuple[Any, frozenset[Any]]:
    return battles.prompt[row], frozenset((battles.response_a[row], battles.response_b[row]))


def preferred(battles: Battles, row: int) -> Any:
    """The answer that won, whichever side it is on; "tie" for none. Equal answers have sides alone."""
    winner = battles.labels[row]
    if battles.response_a[row] == battles.response_b[row]:
        return int(winner)
    return "tie" if winner == TIE else (battles.response_a, battles.response_b)[winner][row]


def by_pair(battles: Battles) -> dict[Any, list[int]]:
    rows: dict[Any, list[int]] = {}
    for row in range(len(battles)):
        rows.setdefault(pair_of(battles, row), []).append(row)
    return rows


def columns_equal(one: Battles, other: Battles, *without: str) -> bool:
    pairs = ((name, v, other.columns()[name]) for name, v in one.columns().items() if name not in without)
    return all((v is None) == (w is None) and (v is None or np.array_equal(v, w)) for _, v, w in pairs)


# The oracle is written by hand

CASES = [
    ([("x", "y", A)], A, (1, 0, 0)),
    ([("x", "y", A), ("x", "y", A), ("x", "y", B)], A, (2 / 3, 1 / 3, 0)),
    ([("x", "y", A), ("x", "y", B)], TIE, (1 / 2, 1 / 2, 0)),
    ([("x", "y", A), ("x", "y", TIE)], TIE, (1 / 2, 0, 1 / 2)),
    ([("x", "y", A), ("x", "y", B), ("x", "y", TIE)], TIE, (1 / 3, 1 / 3, 1 / 3)),
    ([("x", "y", TIE), ("x", "y", TIE), ("x", "y", B)], TIE, (0, 1 / 3, 2 / 3)),
    ([("x", "y", A), ("y", "x", B)], A, (1, 0, 0)),
    ([("x", "y", A), ("y", "x", A)], TIE, (1 / 2, 1 / 2, 0)),
    ([("x", "y", B), ("y", "x", A), ("x", "y", A)], B, (1 / 3, 2 / 3, 0)),
    ([("y", "x", TIE), ("x", "y", TIE), ("y", "x", B), ("x", "y", A), ("x", "y", A)], B, (0, 3 / 5, 2 / 5)),
    ([("x", "x", A), ("x", "x", A), ("x", "x", B)], A, (2 / 3, 1 / 3, 0)),
]


@pytest.mark.parametrize(("votes", "winner", "shares"), CASES)
def test_aggregate_of_worked_examples(votes: list[Any], winner: int, shares: tuple[float, float, float]):
    battles = voted(*(("p", *vote) for vote in votes))
    for mode in ("majority", "soft"):
        whole = aggregate(battles, mode)
        assert (whole.id.tolist(), whole.labels.tolist()) == (["0"], [winner])
        assert (whole.response_a[0], whole.response_b[0]) == ((votes[0][0],), (votes[0][1],))
    assert aggregate(battles, "majority").soft is None
    np.testing.assert_allclose(aggregate(battles, "soft").soft, [shares], atol=1e-15)


def test_votes_on_other_prompts_or_answers_stay_apart():
    battles = voted(
        ("p", "x", "y", A), ("q", "x", "y", B), ("p", "x", "z", B), ("p", "y", "x", B), ("q", "z", "y", A)
    )
    whole = aggregate(battles, "majority")
    assert whole.id.tolist() == ["0", "1", "2", "4"]
    assert whole.labels.tolist() == [A, B, B, A]


def test_details_are_those_of_the_first_vote_and_numbers_are_means():
    battles = voted(
        ("p", "x", "y", A),
        ("p", "y", "x", A),
        ("p", "x", "y", A),
        judge=object_array(["j", "k", "l"]),
        strength=np.array([1.0, 0.5, 0.25]),
        weight=np.array([0.25, 1.0, 1.0]),
        soft=np.array([[0.75, 0.25, 0.0], [0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]),
    )
    whole = aggregate(battles, "majority")
    assert whole.judge.tolist() == ["j"]
    assert whole.labels.tolist() == [A]
    assert whole.strength.tolist() == [(1.0 + 0.25) / 2]  # of the votes for the winner
    assert whole.weight.tolist() == [0.75]
    np.testing.assert_allclose(whole.soft, [[2 / 3, 0.25, 0.25 / 3]])  # A: .75 + .25 + 1; B: .25 + .5; ties: .25


@pytest.mark.parametrize(("bad", "is_bad"), [([1, 1, 0], True), ([1, 0, 0], False), ([1, 0], False), ([1], True)])
def test_both_bad_is_that_of_most_votes(bad: list[int], is_bad: bool):
    battles = voted(*[("p", "x", "y", TIE)] * len(bad), both_bad=np.array(bad, dtype=bool))
    for order in set(permutations(range(len(bad)))):
        assert aggregate(battles.take(np.array(order)), "majority").both_bad.tolist() == [is_bad]


def test_both_bad_is_false_where_the_winner_is_no_tie_and_no_strength_contradicts_its_winner():
    battles = voted(
        ("p", "x", "y", A), ("p", "x", "y", A), ("p", "x", "y", B), ("q", "x", "y", TIE), ("q", "x", "y", A),
        both_bad=np.array([True, True, False, False, False]),
        strength=np.array([0.1, 0.2, -1.0, 0.0, 0.5]),
    )  # fmt: skip
    whole = aggregate(battles, "majority")
    assert whole.labels.tolist() == [A, TIE]
    assert whole.both_bad.tolist() == [False, False]
    np.testing.assert_allclose(whole.strength, [0.15, 0.0])


def test_soft_keeps_graded_winners_as_their_weighted_mean():
    graded = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3]])
    battles = voted(("p", "x", "y", A), ("p", "x", "y", B), soft=graded, weight=np.array([3.0, 1.0]))
    np.testing.assert_allclose(aggregate(battles, "soft").soft, [(3 * graded[0] + graded[1]) / 4])


# Laws of any votes


@given(random_votes(), st.sampled_from(["majority", "soft"]))
def test_each_pair_of_answers_becomes_one_battle_with_the_answer_of_most_votes(battles: Battles, mode: Any):
    whole = aggregate(battles, mode)
    assert [pair_of(whole, row) for row in range(len(whole))] == list(by_pair(battles))
    for row, rows in enumerate(by_pair(battles).values()):
        assert whole.id[row] == battles.id[rows[0]]
        counts = Counter[Any]()
        for each in rows:
            counts[preferred(battles, each)] += battles.weights[each]
        most = [name for name, count in counts.items() if count > max(counts.values()) - 1e-9]
        tie = 2 if len(pair_of(whole, row)[1]) == 1 else "tie"
        assert preferred(whole, row) == (most[0] if len(most) == 1 else tie)


@given(random_votes(), st.sampled_from(["majority", "soft"]))
def test_aggregate_commutes_with_swap(battles: Battles, mode: Any):
    assert columns_equal(aggregate(battles.swap(), mode), aggregate(battles, mode).swap())


@given(random_votes(), st.data(), st.sampled_from(["majority", "soft"]))
def test_sides_of_single_votes_change_nothing_but_the_sides(battles: Battles, data: st.DataObject, mode: Any):
    is_equal = np.array([a == b for a, b in zip(battles.response_a, battles.response_b, strict=True)])
    turned = np.array([data.draw(st.booleans()) for _ in battles.id]) & ~is_equal
    swapped = battles.swap().columns()
    mixed = replace(
        battles,
        **{
            name: np.where(turned, swapped[name], column)
            for name, column in battles.columns().items()
            if column is not None
        },
    )
    found, expected = aggregate(mixed, mode), aggregate(battles, mode)
    other_side = np.array([bool(turned[rows[0]]) for rows in by_pair(battles).values()])
    for rows, wanted in ((~other_side, expected), (other_side, expected.swap())):
        assert columns_equal(found.take(rows), wanted.take(rows))


@given(random_votes(), st.randoms())
def test_aggregate_depends_on_the_order_of_votes_in_sides_and_details_alone(battles: Battles, rand: Any):
    order = rand.sample(range(len(battles)), len(battles))
    one, other = aggregate(battles, "soft"), aggregate(battles.take(np.array(order)), "soft")
    place = {pair_of(other, row): row for row in range(len(other))}
    for row in range(len(one)):
        i = place[pair_of(one, row)]
        assert preferred(one, row) == preferred(other, i)
        assert (one.both_bad[row], one.weight[row]) == (other.both_bad[i], pytest.approx(other.weight[i]))
        same = one.response_a[row] == other.response_a[i]
        assert one.strength[row] == pytest.approx(other.strength[i] * (1 if same else -1))
        np.testing.assert_allclose(one.soft[row], other.soft[i] if same else other.soft[i][[1, 0, 2]], atol=1e-15)


@given(random_votes())
def test_a_table_of_single_votes_is_unchanged_but_for_soft(battles: Battles):
    single = battles.take(np.array([rows[0] for rows in by_pair(battles).values()]))
    assert columns_equal(aggregate(single, "majority"), single)
    assert columns_equal(aggregate(single, "soft"), single, "soft")
    np.testing.assert_array_equal(aggregate(single, "soft").soft, np.eye(3)[single.labels])


@given(random_votes(), st.sampled_from(["majority", "soft"]))
def test_aggregated_votes_are_single_votes(battles: Battles, mode: Any):
    once = aggregate(battles, mode)
    assert columns_equal(aggregate(once, mode), once, "soft")


# Settings


def bad_and_good(**columns: Any) -> Battles:
    votes = [("p", "x", "y", TIE), ("p", "x", "y", A), ("q", "x", "y", TIE)]
    return voted(*votes, both_bad=np.array([True, False, False]), **columns)


@pytest.mark.parametrize(
    ("both_bad", "given_weights", "ids", "weights"),
    [
        (1.0, None, ["0", "1", "2"], [1, 1, 1]),
        (0.3, None, ["0", "1", "2"], [0.3, 1, 1]),
        (0.0, None, ["1", "2"], [1, 1]),
        (1.0, [2, 4, 1], ["0", "1", "2"], [2, 4, 1]),
        (0.3, [2, 4, 1], ["0", "1", "2"], [0.6, 4, 1]),
        (0.0, [2, 4, 1], ["1", "2"], [4, 1]),
    ],
)
def test_a_vote_of_both_bad_counts_as_much_as_its_setting_says(
    both_bad: float, given_weights: list[float] | None, ids: list[str], weights: list[float]
):
    battles = bad_and_good(weight=None if given_weights is None else np.array(given_weights, dtype=np.float64))
    found = apply_votes(battles, VoteSettings(both_bad=both_bad))
    assert found.id.tolist() == ids
    assert found.weights.tolist() == weights
    assert columns_equal(found, battles.take(np.array([int(name) for name in ids])), "weight")


@pytest.mark.parametrize(
    ("both_bad", "winners", "weights"),
    [(1.0, [TIE, TIE], [1, 1]), (0.3, [A, TIE], [0.65, 1]), (0.0, [A, TIE], [1, 1])],
)
def test_votes_are_weighted_before_they_are_aggregated(both_bad: float, winners: list[int], weights: list[float]):
    found = apply_votes(bad_and_good(), VoteSettings("majority", both_bad))
    assert found.labels.tolist() == winners
    np.testing.assert_allclose(found.weights, weights)


@given(random_votes())
def test_the_usual_settings_and_files_without_both_bad_change_nothing(battles: Battles):
    assert apply_votes(battles, VoteSettings()) is battles
    plain = replace(battles, both_bad=None)
    assert apply_votes(plain, VoteSettings(both_bad=0.0)) is plain


@pytest.mark.parametrize(
    "settings", [{"votes": "most"}, {"both_bad": -0.1}, {"both_bad": 1.1}, {"both_bad": np.nan}]
)
def test_settings_out_of_bounds_are_refused_by_name(settings: dict[str, Any]):
    with pytest.raises(UserError, match=f"{next(iter(settings))} = .* expected"):
        VoteSettings(**settings)


def test_battles_without_winners_have_no_votes():
    with pytest.raises(UserError, match="no winners"):
        aggregate(replace(bad_and_good(), winner=None), "majority")


# Graded preferences


def graded(strength: list[float], winner: list[int], soft: list[list[float]] | None = None) -> Battles:
    battles = voted(*[("p", f"x{i}", f"y{i}", each) for i, each in enumerate(winner)], strength=np.array(strength))
    return battles if soft is None else replace(battles, soft=np.array(soft, dtype=float))


def test_a_graded_preference_becomes_a_soft_winner() -> None:
    # HelpSteer's "slightly better", "better" and "much better": 2/3 and 5/6 of the probability, and all of it.
    found = apply_votes(graded([1 / 3, -2 / 3, 1.0], [A, B, A]), VoteSettings(graded=True))
    assert found.soft == pytest.approx(np.array([[12, 2, 4], [1, 15, 2], [18, 0, 0]]) / 18)
    assert found.labels.tolist() == [A, B, A]


def test_ties_and_winners_of_unknown_strength_keep_what_they_have() -> None:
    hard = apply_votes(graded([0, 0, 0.4], [TIE, B, TIE]), VoteSettings(graded=True))
    assert hard.soft is not None
    assert hard.soft.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1]]
    known = apply_votes(graded([0, 0.5], [A, A], [[0.7, 0.2, 0.1]] * 2), VoteSettings(graded=True))
    assert known.soft is not None
    assert known.soft.tolist() == pytest.approx(np.array([[0.7, 0.2, 0.1], [0.75, 1 / 12, 1 / 6]]))


@given(random_votes())
def test_soft_winners_are_probabilities_and_follow_a_swap(battles: Battles) -> None:
    settings = VoteSettings(graded=True)
    found, turned = apply_votes(battles, settings).soft, apply_votes(battles.swap(), settings).swap().soft
    assert found is not None
    assert found == pytest.approx(turned)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found >= 0).all()
    assert (found.argmax(axis=1) == battles.labels).all()


def test_a_strength_that_contradicts_its_winner_is_refused() -> None:
    with pytest.raises(UserError, match="1 battles have a strength that contradicts their winner"):
        apply_votes(graded([0.5, 0.5], [A, B]), VoteSettings(graded=True))


def test_without_strengths_nothing_changes(battles: Battles) -> None:
    assert apply_votes(battles, VoteSettings(graded=True)) is battles
