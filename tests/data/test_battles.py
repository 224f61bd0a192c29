import dataclasses

import numpy as np
import pytest
from hypothesis import given

from pairrank.data.battles import NO_COLUMNS, WINNERS, Battles, Winner, concatenate, object_array
from pairrank.errors import UserError
from tests.support.strategies import valid_battles

COLUMNS = [f.name for f in dataclasses.fields(Battles) if f.name not in NO_COLUMNS]
SIDED = [name for name in COLUMNS if name.endswith(("_a", "_b"))]
OF_NO_SIDE = {"id", "prompt", "weight"}
TURNED = {"winner", "soft", "inputs"}
"""Columns about both sides at once, whose values change on a swap."""
OTHER = {"winner": 1, "soft": [0.6, 0.2, 0.2], "weight": 0.25, "inputs": [[0.6, 0.2, 0.2], [0.4, 0.3, 0.3]]}
"""Values that stand nowhere in `full_battles`."""


def same(left: Battles, right: Battles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


def full_battles() -> Battles:
    """Two battles with a value of its own in every column there is, made by reflection."""
    columns = {name: object_array([f"{name} 1", f"{name} 2"]) for name in COLUMNS}
    columns["winner"] = np.array([0, 2])
    columns["soft"] = np.array([[0.7, 0.1, 0.2], [0.3, 0.3, 0.4]])
    columns["weight"] = np.array([1.0, 0.5])
    columns["inputs"] = np.array([[[0.7, 0.1, 0.2], [0.5, 0.2, 0.3]], [[0.3, 0.3, 0.4], [0.6, 0.1, 0.3]]])
    return Battles(**columns, input_names=("structure", "kernel"))


def test_winners_stand_in_kaggles_column_order():
    assert [Winner.A, Winner.B, Winner.TIE] == [0, 1, 2]
    assert WINNERS == ("winner_model_a", "winner_model_b", "winner_tie")


def test_every_column_of_one_side_has_a_twin_and_no_column_is_of_unknown_side():
    assert {name[:-2] for name in SIDED if name.endswith("_a")} == {name[:-2] for name in SIDED if name[-1] == "b"}
    assert set(COLUMNS) - set(SIDED) == OF_NO_SIDE | TURNED


def test_swap_renames_every_column_of_a_side_and_leaves_the_others():
    battles = full_battles()
    swapped = battles.swap()
    for name in SIDED:
        twin = name[:-1] + {"a": "b", "b": "a"}[name[-1]]
        assert getattr(swapped, name) is getattr(battles, twin), name
    for name in OF_NO_SIDE:
        assert getattr(swapped, name) is getattr(battles, name), name


def test_a_and_b_wins_change_places_on_a_swap_and_ties_stay(battles: Battles):
    swapped = battles.swap()
    assert battles.labels.tolist() == [0, 0, 1, 2, 1]
    assert swapped.labels.tolist() == [1, 1, 0, 2, 0]
    assert swapped.soft is not None
    assert swapped.soft[0].tolist() == [0.1, 0.7, 0.2]
    told = full_battles().swap()
    assert told.inputs is not None
    assert told.inputs[0].tolist() == [[0.1, 0.7, 0.2], [0.2, 0.5, 0.3]]
    assert told.input_names == ("structure", "kernel")


@given(valid_battles())
def test_a_swap_undoes_a_swap(battles: Battles):
    assert same(battles.swap().swap(), battles)


@given(valid_battles(labelled=True))
def test_a_swap_leaves_its_battles_untouched(battles: Battles):
    before = battles.content_hash()
    battles.swap()
    assert battles.content_hash() == before


@given(valid_battles(least=1))
def test_taking_rows_then_swapping_is_swapping_then_taking_rows(battles: Battles):
    rows = np.arange(len(battles))[::-2]
    assert same(battles.take(rows).swap(), battles.swap().take(rows))


def test_rows_are_taken_from_every_column_by_index_mask_or_slice():
    battles = full_battles()
    for rows in (np.array([1]), np.array([False, True]), slice(1, 2)):
        taken = battles.take(rows)
        assert len(taken) == 1
        for name in COLUMNS:
            assert np.array_equal(getattr(taken, name)[0], getattr(battles, name)[1]), name


def test_no_rows_are_battles_too(battles: Battles):
    none = battles.take(slice(0, 0))
    assert len(none) == len(none.swap()) == 0
    assert none.content_hash() == battles.take(np.zeros(5, dtype=bool)).content_hash()


def test_labels_of_battles_without_winners_are_an_error(battles: Battles):
    with pytest.raises(UserError, match="no winners"):
        _ = dataclasses.replace(battles, winner=None).labels


def test_any_change_of_content_changes_the_hash():
    battles = full_battles()
    hashes = {battles.content_hash(), battles.take(np.array([1, 0])).content_hash(), battles.swap().content_hash()}
    for name in COLUMNS:
        column = getattr(battles, name).copy()
        column[0] = OTHER.get(name, "changed")
        hashes.add(dataclasses.replace(battles, **{name: column}).content_hash())
        if name not in {"id", "prompt", "response_a", "response_b"}:
            hashes.add(dataclasses.replace(battles, **{name: None}).content_hash())
    hashes.add(dataclasses.replace(battles, input_names=("structure", "frozen")).content_hash())
    assert len(hashes) == 3 + len(COLUMNS) + 6 + 1


def test_moving_a_text_between_turns_or_columns_changes_the_hash(battles: Battles):
    one = battles.take(slice(0, 1))
    variants = [
        dataclasses.replace(one, prompt=object_array([turns]))
        for turns in [("a", "b"), ("ab",), ("a", "b", ""), ('a", "b',), ("b", "a")]
    ]
    assert len({b.content_hash() for b in variants}) == len(variants)


def test_the_hash_is_the_same_on_every_machine():
    """sha256sum of the column names and values as JSON lists, one after the other:

    ["id", ["1"]]["prompt", [["h\\u00e9"]]]["response_a", [["x"]]]["response_b", [["y"]]]["winner", [2]]
    """
    columns = {
        name: object_array([(text,)]) for name, text in (("prompt", "hé"), ("response_a", "x"), ("response_b", "y"))
    }
    battles = Battles(id=object_array(["1"]), **columns, winner=np.array([2]), repairs=("not hashed",))
    assert battles.content_hash() == "e5a719ab56418412"


def test_parts_are_joined_in_order_and_a_column_that_one_lacks_is_dropped(battles: Battles):
    first, rest = battles.take(slice(0, 2)), battles.take(slice(2, 5))
    assert same(concatenate([first, rest]), battles)
    joined = concatenate(
        [dataclasses.replace(first, model_a=None, repairs=("x",)), dataclasses.replace(rest, repairs=("y",))]
    )
    assert joined.model_a is None
    assert joined.model_b is not None
    assert joined.repairs == ("x", "y")


@pytest.mark.parametrize("values", [[], [("a",)], [("a", "b")], [("a",), ("b",)], [("a",), ("b", "c")]])
def test_an_object_array_has_one_dimension_whatever_the_tuples_are(values: list[tuple[str, ...]]):
    array = object_array(values)
    assert array.shape == (len(values),)
    assert array.tolist() == values
