"""Battles keep their rows aligned, exchange their sides exactly and are identified by a hash."""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import pairrank.data.battles
from pairrank.data.battles import (
    TABLE_FIELDS,
    TEXTS,
    WINNERS,
    Battles,
    Winner,
    concatenate,
    evenly_spaced,
    object_array,
)
from pairrank.data.simulation import simulate
from pairrank.errors import UserError
from tests.support.strategies import valid_battles

COLUMNS = [f.name for f in dataclasses.fields(Battles) if f.name not in TABLE_FIELDS]
SIDED = [name for name in COLUMNS if name.endswith(("_a", "_b"))]
SIDELESS = {
    "id",
    "prompt",
    "weight",
    "group",
    "judge",
    "language",
    "category",
    "time",
    "both_bad",
    "is_extra",
    "is_voted",
    "teaches",
}
EXCHANGED = {"winner", "soft", "inputs", "strength"}
"""Columns that describe both sides together. Their values change on a swap."""
OTHER = {
    "winner": 1,
    "soft": [0.6, 0.2, 0.2],
    "weight": 0.25,
    "inputs": [[0.6, 0.2, 0.2], [0.4, 0.3, 0.3]],
    "both_bad": True,
    "is_extra": True,
    "is_voted": False,
    "teaches": "tie",
    "strength": 0.25,
}
"""Values that do not occur in `full_battles`."""


def same(left: Battles, right: Battles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


def full_battles() -> Battles:
    """Two battles with a distinct value in every column. The columns are found by reflection."""
    columns = {name: object_array([f"{name} 1", f"{name} 2"]) for name in COLUMNS}
    columns |= {name: object_array([(f"{name} 1",), (f"{name} 2",)]) for name in TEXTS}
    columns["winner"] = np.array([0, 2])
    columns["soft"] = np.array([[0.7, 0.1, 0.2], [0.3, 0.3, 0.4]])
    columns["weight"] = np.array([1.0, 0.5])
    columns["both_bad"] = np.array([False, True])
    columns["is_extra"] = np.array([False, True])
    columns["is_voted"] = np.array([True, False])
    columns["teaches"] = object_array(["both", "margin"])
    columns["strength"] = np.array([0.5, -1.0])
    columns["inputs"] = np.array([[[0.7, 0.1, 0.2], [0.5, 0.2, 0.3]], [[0.3, 0.3, 0.4], [0.6, 0.1, 0.3]]])
    return Battles(**columns, input_names=("structure", "kernel"))


def test_winner_values_follow_the_order_of_the_label_columns():
    assert [Winner.A, Winner.B, Winner.TIE] == [0, 1, 2]
    assert WINNERS == ("winner_model_a", "winner_model_b", "winner_tie")


def test_every_column_of_one_side_has_a_counterpart_and_every_other_column_is_known():
    assert {name[:-2] for name in SIDED if name.endswith("_a")} == {name[:-2] for name in SIDED if name[-1] == "b"}
    assert set(COLUMNS) - set(SIDED) == SIDELESS | EXCHANGED


def test_swap_exchanges_the_columns_of_both_sides_and_keeps_the_others():
    battles = full_battles()
    swapped = battles.swap()
    for name in SIDED:
        twin = name[:-1] + {"a": "b", "b": "a"}[name[-1]]
        assert getattr(swapped, name) is getattr(battles, twin), name
    for name in SIDELESS:
        assert getattr(swapped, name) is getattr(battles, name), name


def test_swap_exchanges_the_wins_of_a_and_b_and_keeps_ties(battles: Battles):
    swapped = battles.swap()
    assert battles.labels.tolist() == [0, 0, 1, 2, 1]
    assert swapped.labels.tolist() == [1, 1, 0, 2, 0]
    assert swapped.soft is not None
    assert swapped.soft[0].tolist() == [0.1, 0.7, 0.2]
    full = full_battles().swap()
    assert full.inputs is not None
    assert full.inputs[0].tolist() == [[0.1, 0.7, 0.2], [0.2, 0.5, 0.3]]
    assert full.input_names == ("structure", "kernel")


@given(valid_battles())
def test_swapping_twice_restores_the_battles(battles: Battles):
    assert same(battles.swap().swap(), battles)


@given(valid_battles(labelled=True))
def test_swap_does_not_change_its_input(battles: Battles):
    before = battles.content_hash()
    battles.swap()
    assert battles.content_hash() == before


@given(valid_battles(least=1))
def test_take_and_swap_commute(battles: Battles):
    rows = np.arange(len(battles))[::-2]
    assert same(battles.take(rows).swap(), battles.swap().take(rows))


def test_take_selects_rows_of_every_column_by_index_mask_or_slice():
    battles = full_battles()
    for rows in (np.array([1]), np.array([False, True]), slice(1, 2)):
        taken = battles.take(rows)
        assert len(taken) == 1
        for name in COLUMNS:
            assert np.array_equal(getattr(taken, name)[0], getattr(battles, name)[1]), name


def test_battles_may_have_no_rows(battles: Battles):
    none = battles.take(slice(0, 0))
    assert len(none) == len(none.swap()) == 0
    assert none.content_hash() == battles.take(np.zeros(5, dtype=bool)).content_hash()


def of_rows(prompt: Any, **more: Any) -> Battles:
    columns = {name: object_array([("x",), ("y",)]) for name in TEXTS} | {"id": object_array(["1", "2"])}
    return Battles(**(columns | {"prompt": prompt} | more))


TURNS = object_array([("a",), ("b",)])


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"prompt": object_array(['["a"]', '["b"]'])}, "prompt: expected a tuple of turns"),
        ({"prompt": object_array([["a"], ["b"]])}, "prompt: expected a tuple"),
        ({"prompt": object_array([("a",), (None,)])}, "prompt: expected text in every turn"),
        ({"prompt": ["a", "b"]}, "prompt: list, expected a numpy array"),
        ({"prompt": TURNS[:1]}, r"prompt: shape \(1,\), expected \(2,\)"),
        ({"prompt": TURNS, "id": object_array([1, 2])}, "id: expected text"),
        ({"prompt": TURNS, "model_a": object_array([None, "x"])}, "model_a: expected text"),
        ({"prompt": TURNS, "winner": np.array([0, 3])}, "winner: expected 0, 1 or 2"),
        ({"prompt": TURNS, "winner": np.array([-1, 0])}, "winner: expected 0, 1 or 2"),
        ({"prompt": TURNS, "soft": np.ones((2, 2)) / 2}, "soft: shape"),
        ({"prompt": TURNS, "weight": np.array([1.0, 0.0])}, "weight: expected finite numbers above 0"),
        ({"prompt": TURNS, "weight": np.array([1.0, np.inf])}, "weight: expected finite numbers above 0"),
        ({"prompt": TURNS, "weight": object_array([1.0, "2"])}, "weight: dtype object, expected numbers"),
        ({"prompt": TURNS, "winner": np.array([0.0, 1.0])}, "winner: dtype float64, expected integers"),
        ({"prompt": TURNS, "soft": np.array([[1.0, 0, 0], [np.nan, 0.5, 0.5]])}, "soft: expected finite numbers"),
        (
            {"prompt": TURNS, "model_a": object_array(["x", "NaN"])},
            "model_a: 'NaN' is a spelling",
        ),
        ({"prompt": np.array(["a", "b"])}, "prompt: dtype <U1, expected object"),
        ({"prompt": TURNS, "inputs": np.ones((2, 1, 3)) / 3}, "inputs: shape"),
    ],
)
def test_columns_that_are_not_as_described_are_refused(columns: dict[str, Any], complaint: str):
    with pytest.raises(UserError, match=complaint):
        of_rows(**columns)


def test_a_table_of_pandas_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(UserError, match="prompt: Series, expected a numpy array"):
        of_rows(pandas.Series(['["a"]', '["b"]']))


@pytest.mark.parametrize(
    ("winner", "warning"),
    [
        ([0] * 9, "ALL 9 BATTLES HAVE THE SAME WINNER, A"),
        ([2] * 60, "ALL 60 BATTLES HAVE THE SAME WINNER, tie"),
        ([1] * 40 + [0] * 10 + [2] * 50, "B HAS WON 40 OF 50 DECIDED BATTLES"),
        ([1] * 39 + [0] * 11 + [2] * 50, ""),
        ([0] * 48 + [2], ""),
    ],
)
def test_one_sided_winners_are_loud(winner: list[int], warning: str):
    n = len(winner)
    texts = {name: object_array([("x",)] * n) for name in TEXTS}
    battles = Battles(object_array([str(i) for i in range(n)]), **texts, winner=np.array(winner))
    assert battles.label_warning().startswith(warning)
    assert bool(battles.label_warning()) == bool(warning)


def test_labels_of_battles_without_winners_raise_an_error(battles: Battles):
    with pytest.raises(UserError, match="no winners"):
        _ = dataclasses.replace(battles, winner=None).labels


def test_content_hash_changes_with_any_content():
    battles = full_battles()
    hashes = {battles.content_hash(), battles.take(np.array([1, 0])).content_hash(), battles.swap().content_hash()}
    for name in COLUMNS:
        column = getattr(battles, name).copy()
        column[0] = OTHER.get(name, ("changed",) if name in TEXTS else "changed")
        hashes.add(dataclasses.replace(battles, **{name: column}).content_hash())
        if name not in {"id", "prompt", "response_a", "response_b"}:
            hashes.add(dataclasses.replace(battles, **{name: None}).content_hash())
    hashes.add(dataclasses.replace(battles, input_names=("structure", "frozen")).content_hash())
    assert len(hashes) == 3 + len(COLUMNS) + 16 + 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_content_hash_is_that_of_the_json_of_all_columns(monkeypatch: pytest.MonkeyPatch, count: int):
    monkeypatch.setattr(pairrank.data.battles, "HASHED", 2)
    battles = simulate(7)[0].take(slice(count))
    columns = [[name, column.tolist()] for name, column in battles.columns().items() if column is not None]
    whole = hashlib.sha256("".join(map(json.dumps, columns)).encode())
    assert battles.content_hash() == whole.hexdigest()[:16]


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (9, [0, 1, 2, 3, 4, 5, 6])])
def test_evenly_spaced_battles_cover_the_table(count: int, expected: list[int]):
    battles = simulate(7)[0]
    assert evenly_spaced(battles, count).id.tolist() == battles.id[expected].tolist()


def test_content_hash_changes_when_a_text_moves_between_turns_or_columns(battles: Battles):
    one = battles.take(slice(0, 1))
    variants = [
        dataclasses.replace(one, **{name: object_array([turns]) for name in TEXTS})
        for turns in [("a", "b"), ("ab",), ("a", "b", ""), ('a", "b',), ("b", "a")]
    ]
    assert len({b.content_hash() for b in variants}) == len(variants)


def test_content_hash_is_the_same_on_every_machine():
    """sha256sum of the column names and values as JSON lists, one after the other:

    ["id", ["1"]]["prompt", [["h\\u00e9"]]]["response_a", [["x"]]]["response_b", [["y"]]]["winner", [2]]
    """
    columns = {
        name: object_array([(text,)]) for name, text in (("prompt", "hé"), ("response_a", "x"), ("response_b", "y"))
    }
    battles = Battles(id=object_array(["1"]), **columns, winner=np.array([2]), repairs=("not hashed",))
    assert battles.content_hash() == "e5a719ab56418412"


def test_concatenate_keeps_the_order_and_drops_columns_that_a_part_lacks(battles: Battles):
    first, rest = battles.take(slice(0, 2)), battles.take(slice(2, 5))
    assert same(concatenate([first, rest]), battles)
    joined = concatenate(
        [dataclasses.replace(first, model_a=None, repairs=("x",)), dataclasses.replace(rest, repairs=("y",))]
    )
    assert joined.model_a is None
    assert joined.model_b is not None
    assert joined.repairs == ("x", "y")


@pytest.mark.parametrize("values", [[], [("a",)], [("a", "b")], [("a",), ("b",)], [("a",), ("b", "c")]])
def test_object_array_has_one_dimension_for_any_tuples(values: list[tuple[str, ...]]):
    array = object_array(values)
    assert array.shape == (len(values),)
    assert array.tolist() == values
