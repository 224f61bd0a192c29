"""Plain values become dataclasses and back, and every wrong value is reported with what was expected."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.errors import UserError
from pairrank.nested import dotted_items, from_mapping, json_ready, set_dotted

KEYS = st.text("abc", min_size=1, max_size=2)
NESTED = st.recursive(
    st.dictionaries(KEYS, st.integers(), min_size=1),
    lambda inner: st.dictionaries(KEYS, st.integers() | inner, min_size=1),
    max_leaves=8,
)
"""Nested tables without an empty one, which has no dotted key."""


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


# --- Dotted keys


@given(NESTED)
def test_set_dotted_rebuilds_the_tables_that_dotted_items_took_apart(values: dict[str, Any]):
    rebuilt: dict[str, Any] = {}
    for key, value in dotted_items(values):
        set_dotted(rebuilt, key, value)
    assert rebuilt == values


def test_set_dotted_copies_the_tables_on_its_path():
    shared = {"rate": 1}
    values = {"training": shared}
    set_dotted(values, "training.rate", 2)
    assert (values, shared) == ({"training": {"rate": 2}}, {"rate": 1})


def test_set_dotted_refuses_a_path_through_a_value():
    message = complaint(lambda: set_dotted({"a": {"b": 3}}, "a.b.c", 1, "--set a.b.c=1"))
    assert message == "--set a.b.c=1: a.b = 3: expected a table."


# --- JSON


def test_json_ready_turns_numpy_scalars_into_numbers_and_nan_into_null():
    values = {"loss": np.float32("nan"), "best": [np.int64(3), float("inf"), (1.5, np.bool_(True))], "text": "x"}
    ready = json_ready(values)
    assert ready == {"loss": None, "best": [3, None, [1.5, True]], "text": "x"}
    assert [type(number) for number in ready["best"][2]] == [float, bool]


# --- Dataclasses


@dataclass
class Inner:
    rate: float = 0.1
    steps: int = 3


@dataclass
class Toy:
    """A dataclass with every kind of field."""

    words: list[str] = field(default_factory=list)
    pair: tuple[str, ...] = ()
    kind: Literal["plain", "fancy"] = "plain"
    share: float = 0.5
    count: int = 1
    deep: bool = False
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)
    sizes: dict[str, int] = field(default_factory=dict)
    anything: Any = None
    learned: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise UserError(f"count = {self.count}: expected 0 or more.")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("words", 1, "a list of strings"),
        ("words", ["one", 2], "a list of strings"),
        ("pair", "one", "a list of strings"),
        ("kind", "fency", "one of 'plain', 'fancy'"),
        ("share", "0.5", "a number"),
        ("share", True, "a number"),
        ("share", None, "a number"),
        ("count", 1.0, "a whole number"),
        ("count", True, "a whole number"),
        ("deep", 1, "true or false"),
        ("limit", "1", "a whole number or nothing"),
        ("limit", False, "a whole number or nothing"),
        ("inner", 3, "a table"),
        ("inner", None, "a table"),
        ("sizes", 3, "a table of whole numbers"),
        ("sizes", {"a": "b"}, "a table of whole numbers"),
        ("sizes", {1: 2}, "a table of whole numbers"),
    ],
)
def test_from_mapping_names_a_value_of_the_wrong_type_and_what_was_expected(key, value, expected):
    message = complaint(lambda: from_mapping(Toy, {key: value}, "model 'toy'"))
    assert message == f"model 'toy': {key} = {value!r}: expected {expected}."


def test_from_mapping_suggests_the_name_that_was_meant_also_within_a_table():
    message = complaint(lambda: from_mapping(Toy, {"cuont": 1}, "model 'toy'"))
    assert message.startswith("model 'toy': no parameter is called 'cuont'. Did you mean 'count'?")
    message = complaint(lambda: from_mapping(Toy, {"inner": {"step": 1}}, "model 'toy'"))
    assert message.startswith("model 'toy', inner: no parameter is called 'step'. Did you mean 'steps'?")
    assert "no parameter is called 'learned'" in complaint(lambda: from_mapping(Toy, {"learned": 1}, "model 'toy'"))


def test_from_mapping_reports_all_complaints_at_once():
    message = complaint(lambda: from_mapping(Toy, {"shre": 1, "count": "x", "deep": 0}, "model 'toy'"))
    assert re.search(r"'shre'.*count = 'x'.*deep = 0", message)


def test_from_mapping_names_the_place_of_what_the_dataclass_itself_refuses():
    message = complaint(lambda: from_mapping(Toy, {"count": -1}, "model 'toy'"))
    assert message == "model 'toy': count = -1: expected 0 or more."


def test_from_mapping_converts_plain_values_to_the_types_of_the_fields():
    values = {"words": "a", "pair": ["b"], "share": 1, "limit": None, "inner": {"rate": 2}, "sizes": {"a": 1}}
    toy = from_mapping(Toy, values | {"anything": {"x": [1, None]}}, "model 'toy'")
    expected = Toy(["a"], ("b",), share=1.0, inner=Inner(rate=2.0), sizes={"a": 1}, anything={"x": [1, None]})
    assert toy == expected
    assert type(toy.share) is type(toy.inner.rate) is float
    given_back = {key: value for key, value in asdict(toy).items() if key != "learned"}
    assert from_mapping(Toy, given_back, "model 'toy'") == toy


def test_from_mapping_keeps_the_defaults_of_a_nested_field_that_are_not_given():
    @dataclass
    class Own:
        inner: Inner = field(default_factory=lambda: Inner(rate=9.0, steps=8))

    assert from_mapping(Own, {"inner": {"steps": 1}}, "model 'own'") == Own(Inner(rate=9.0, steps=1))
    assert from_mapping(Own, {"inner": Inner()}, "model 'own'") == Own(Inner())


@dataclass
class Record:
    """A dataclass with required fields, as records of runs have them."""

    label: str
    inner: Inner | None = None


def test_from_mapping_names_missing_fields_without_a_default():
    assert complaint(lambda: from_mapping(Record, {}, "metrics.json")) == "metrics.json: label is missing."
    assert from_mapping(Record, {"label": "x"}, "metrics.json") == Record("x")


def test_from_mapping_accepts_a_table_or_nothing_for_an_optional_dataclass():
    for value, inner in (({"steps": 2}, Inner(steps=2)), (None, None), (Inner(9.0), Inner(9.0))):
        assert from_mapping(Record, {"label": "x", "inner": value}, "metrics.json") == Record("x", inner)
    message = complaint(lambda: from_mapping(Record, {"label": "x", "inner": 3}, "metrics.json"))
    assert message == "metrics.json: inner = 3: expected a table or nothing."


def test_from_mapping_can_ignore_unknown_names_also_within_a_table():
    values = {"label": "x", "later": 1, "inner": {"steps": 2, "later": 3}}
    assert from_mapping(Record, values, "metrics.json", ignore_unknown=True) == Record("x", Inner(steps=2))


@dataclass
class _Counted:
    count: int = 0


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**400])
def test_an_integer_that_no_array_holds_is_refused(value: int):
    with pytest.raises(UserError, match=r"count = .*: expected a whole number below 2\*\*63"):
        from_mapping(_Counted, {"count": value}, "here")
    assert from_mapping(_Counted, {"count": 2**63 - 1}, "here").count == 2**63 - 1
