"""Evidence of identical and empty answers, against counts made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.battles import Battles, object_array
from pairrank.features.evidence import (
    A_EMPTY,
    B_EMPTY,
    BEGINNING,
    IDENTICAL,
    NONE,
    PSEUDO_BATTLES,
    count_evidence,
    kinds_of,
)

A, B, TIE = range(3)
ANSWERS = st.sampled_from(["", " \n", "Yes.", "yes. ", "No", "No way"])


def answered(*pairs: tuple[str, str], winner: list[int] | None = None) -> Battles:
    one, other = zip(*pairs, strict=True)
    texts = [object_array([(text,) for text in column]) for column in (("q",) * len(pairs), one, other)]
    ids = object_array([str(i) for i in range(len(pairs))])
    return Battles(ids, *texts, winner=None if winner is None else np.array(winner))


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ("Yes", "Yes", IDENTICAL),
        ("Yes,\n it is", "yes, it  IS ", IDENTICAL),
        ("", "  ", IDENTICAL),
        ("", "Yes", A_EMPTY),
        ("Yes", "\n\t", B_EMPTY),
        ("Yes", "Yes!", NONE),
        ("word " * BEGINNING, "word " * BEGINNING + "more", NONE),
        ("word  " * BEGINNING, "word\n" * BEGINNING, IDENTICAL),
    ],
)
def test_answers_are_compared_without_white_space_and_case(a: str, b: str, kind: int) -> None:
    assert kinds_of(answered((a, b))).tolist() == [kind]


@given(st.text(max_size=300), st.text(max_size=300), st.integers(0, 300))
def test_comparing_beginnings_first_changes_nothing(one: str, other: str, shared: int) -> None:
    a, b = one, one[:shared] + other

    def normal(text: str) -> str:
        return " ".join(text.casefold().split())

    found = kinds_of(answered((a, b))).tolist() == [IDENTICAL]
    assert found == (normal(a) == normal(b))


def test_counts_become_frequencies_that_are_shrunk_to_the_prediction() -> None:
    train = answered(*[("x", "X")] * 4, ("", "x"), ("x", ""), ("x", "y"), winner=[A, TIE, TIE, TIE, B, TIE, A])
    evidence = count_evidence(train)
    assert evidence.identical == (0.5, 0.5, 3.0)  # the win of A says nothing about sides
    assert evidence.one_empty == (0.0, 1.0, 1.0)
    proba = np.array([[0.5, 0.3, 0.2]] * 4)
    found = evidence.correct(answered(("u", "u"), ("", "u"), ("u", ""), ("u", "v")), proba)
    m = PSEUDO_BATTLES
    assert found[0] == pytest.approx(
        [(0.5 + 0.5 * m) / (4 + m), (0.5 + 0.3 * m) / (4 + m), (3 + 0.2 * m) / (4 + m)]
    )
    assert found[1] == pytest.approx([0.5 * m / (2 + m), (1 + 0.3 * m) / (2 + m), (1 + 0.2 * m) / (2 + m)])
    assert found[2] == pytest.approx([(1 + 0.5 * m) / (2 + m), 0.3 * m / (2 + m), (1 + 0.2 * m) / (2 + m)])
    assert found[3].tolist() == proba[3].tolist()


def test_weights_count_and_battles_of_one_head_do_not() -> None:
    train = answered(*[("x", "x")] * 3, winner=[TIE] * 3)
    train = replace(train, weight=np.array([0.5, 2, 1]), teaches=object_array(["both", "both", "margin"]))
    assert count_evidence(train).identical == (0.0, 0.0, 2.5)


@given(st.lists(st.tuples(ANSWERS, ANSWERS, st.integers(0, 2)), min_size=1, max_size=20))
def test_correction_commutes_with_a_swap_and_gives_probabilities(rows: list[tuple[str, str, int]]) -> None:
    battles = answered(*[row[:2] for row in rows], winner=[row[2] for row in rows])
    evidence = count_evidence(battles)
    assert count_evidence(battles.swap()) == evidence
    proba = np.random.default_rng(0).dirichlet([1, 1, 1], len(rows))
    found = evidence.correct(battles, proba)
    turned = evidence.correct(battles.swap(), proba[:, [B, A, TIE]])
    assert turned[:, [B, A, TIE]] == pytest.approx(found)
    assert found.sum(axis=1) == pytest.approx(1)


def test_without_such_battles_every_prediction_stays_to_the_last_digit() -> None:
    train = answered(*[("x", "y")] * 5, winner=[A, B, TIE, A, B])
    proba = np.random.default_rng(1).dirichlet([1, 1, 1], 3)
    found = count_evidence(train).correct(answered(("u", "u"), ("", "u"), ("u", "v")), proba)
    assert found.tobytes() == proba.tobytes()
    evidence = count_evidence(answered(("x", "x"), winner=[TIE]))
    assert evidence.correct(answered(*[("x", "y")] * 3), proba).tobytes() == proba.tobytes()


def test_outcomes_that_no_person_has_decided_are_no_evidence():
    battles = answered(("yes", "yes"), ("no", "no"), ("", "no"), winner=[TIE, A, B])
    voted = replace(battles, is_voted=np.array([True, False, False]))
    assert count_evidence(voted) == count_evidence(battles.take(slice(0, 1)))
    assert count_evidence(voted) != count_evidence(battles)
