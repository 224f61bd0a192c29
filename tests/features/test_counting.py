"""Features of battles obey the laws of a swap, depend on their own texts only, and are finite for any text."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings

from pairrank.data.battles import Battles, object_array
from pairrank.errors import UserError
from pairrank.features.counting import GROUPS, count_features
from pairrank.features.parsed_text import ParsedText
from pairrank.features.sides import SIDES
from tests.support.strategies import valid_battles


def one(prompt: str | tuple[str, ...], a: str | tuple[str, ...], b: str | tuple[str, ...]) -> Battles:
    cells = [(text,) if isinstance(text, str) else text for text in (prompt, a, b)]
    return Battles(object_array(["1"]), *(object_array([cell]) for cell in cells))


def named(battles: Battles, groups: tuple[str, ...] | None = None) -> dict[str, float]:
    """The features of the first battle by name."""
    f = count_features(battles, groups)
    odd = {f"odd {name}": value for name, value in zip(f.odd_names, f.odd[0], strict=True)}
    return odd | dict(zip(f.even_names, f.even[0], strict=True))


def test_measurements_of_b_are_those_of_b() -> None:
    # Mistake 4 of public solutions: B's count computed from A makes this difference 0, and the sum twice A's.
    got = named(one("q", "one two three", "one two three four five six seven"))
    assert got["odd turns.words"] == pytest.approx(math.log(4) - math.log(8))
    assert got["turns.words.sum"] == pytest.approx(math.log(4) + math.log(8))
    assert got["turns.words.gap"] == pytest.approx(math.log(8) - math.log(4))


@pytest.mark.parametrize("group", sorted(SIDES))
def test_every_side_group_measures_each_side_separately(group: str) -> None:
    # The difference of A and an empty B is the measurement of A minus that of an empty text, and vice versa.
    text = "- I cannot: **well**, however!\nI cannot, cannot say so... 42 elephants, you know"
    full = SIDES[group](ParsedText((text,)), ParsedText(("Why?",)))
    none = SIDES[group](ParsedText(("",)), ParsedText(("Why?",)))
    for battles, sign in ((one("Why?", text, ""), 1), (one("Why?", "", text), -1)):
        got = named(battles, (group,))
        for name, value in full.items():
            assert got[f"odd {group}.{name}"] == pytest.approx(sign * (value - none[name]))
            assert got[f"{group}.{name}.gap"] == pytest.approx(abs(value - none[name]))
    assert any(full[name] != none[name] for name in full)


@given(battles=valid_battles())
@settings(max_examples=60, deadline=None)
def test_a_swap_negates_odd_features_and_keeps_even_ones(battles: Battles) -> None:
    straight, swapped = count_features(battles), count_features(battles.swap())
    np.testing.assert_array_equal(swapped.odd, -straight.odd)
    np.testing.assert_array_equal(swapped.even, straight.even)
    np.testing.assert_array_equal(straight.swap().odd, swapped.odd)
    assert np.isfinite(straight.odd).all()
    assert np.isfinite(straight.even).all()
    assert straight.odd.shape == (len(battles), len(straight.odd_names))
    assert straight.even.shape == (len(battles), len(straight.even_names))


@given(battles=valid_battles(least=1))
@settings(max_examples=20, deadline=None)
def test_features_of_a_battle_depend_on_its_own_texts_only(battles: Battles) -> None:
    whole = count_features(battles)
    renamed = Battles(battles.id, battles.prompt, battles.response_a, battles.response_b)
    alone = [count_features(renamed.take(slice(i, i + 1))) for i in range(len(battles))]
    np.testing.assert_array_equal(np.vstack([f.odd for f in alone]), whole.odd)
    np.testing.assert_array_equal(np.vstack([f.even for f in alone]), whole.even)


def test_names_are_unique_and_groups_select_columns() -> None:
    battles = one("Why?", "Because.", "Why not?")
    every = count_features(battles)
    assert len(set(every.odd_names)) == len(every.odd_names)
    assert len(set(every.even_names)) == len(every.even_names)
    assert {name.split(".")[0] for name in every.even_names} == set(GROUPS)
    for group in GROUPS:
        some = count_features(battles, [group])
        assert {name.split(".")[0] for name in (*some.odd_names, *some.even_names)} == {group}
        picked = [every.odd_names.index(name) for name in some.odd_names]
        np.testing.assert_array_equal(some.odd, every.odd[:, picked])
    assert count_features(battles, ["length"]).even_names == (
        "length.chars.sum",
        "length.chars.gap",
        "length.prompt_chars",
    )


def test_an_unknown_group_is_reported_with_the_most_similar_name() -> None:
    with pytest.raises(UserError, match=r"'lenght'. Did you mean 'length'"):
        count_features(one("a", "b", "c"), ["lenght"])


def test_features_of_no_battles_have_columns() -> None:
    nothing = one("a", "b", "c").take(slice(0, 0))
    f = count_features(nothing)
    assert f.odd.shape == (0, len(f.odd_names))
    assert f.even.shape == (0, len(f.even_names))


ODD_TEXTS = [
    "",
    " ",
    "\n\n",
    "\0",
    "\ud83d",
    "😀" * 50,
    "é",
    "漢字",
    "\u202e",
    "İ",
    "'",
    "''''",
    "???",
    "1",
    "٣",
    "a\u0301",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_give_finite_features(text: str) -> None:
    cells = [((text,), ("x",), (text,)), ((text, text), (text,), ("", text, "")), (("x",), (), (text,))]
    for cell in cells:
        got = count_features(one(*cell))
        assert np.isfinite(got.odd).all()
        assert np.isfinite(got.even).all()


@pytest.mark.parametrize(
    "piece", ["!", "* ", " ", "\n", "a'", "|", "a b ", "#", "**a", "{", "; ", "1", "```", "a" * 99]
)
def test_huge_turns_take_linear_time(piece: str) -> None:
    # A quadratic pattern needs 20 minutes or more for half a million characters, and pytest ends it after 10.
    text = (piece * 500_000)[:500_000]
    got = count_features(one(text, text + "x", "short"))
    assert np.isfinite(got.even).all()


def test_equal_and_empty_answers_cause_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = count_features(one("", "", ""))
    np.testing.assert_array_equal(got.odd, np.zeros_like(got.odd))
