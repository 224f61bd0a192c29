import json
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.turns import join_turns, parse_turns, repair_text
from tests.support.strategies import CELL


@pytest.mark.parametrize(
    ("cell", "turns"),
    [
        ('["a"]', ("a",)),
        ('["a", "b"]', ("a", "b")),
        ('["a", null]', ("a", "")),
        ("[null]", ("",)),
        ("[]", ("",)),
        ('[""]', ("",)),
        ('["", ""]', ("", "")),
        (r'["a\/b"]', ("a/b",)),
        (r'["\u00e9"]', ("é",)),
        (r'["\ud83d\ude00"]', ("😀",)),
        (r'["a\ud83db"]', ("a\ufffdb",)),
        (r'["\ude00\ud83d"]', ("\ufffd\ufffd",)),
        (r'["\ud83d", "\ude00"]', ("\ufffd", "\ufffd")),
        ('["two\nlines"]', ("two\nlines",)),
        (' ["a"] ', ("a",)),
        (["a", None, "\ud83d"], ("a", "", "\ufffd")),
        (("a",), ("a",)),
        ([], ("",)),
    ],
)
def test_parse_turns_of_valid_cells_has_no_complaint(cell: object, turns: tuple[str, ...]):
    assert parse_turns(cell) == (turns, "")


@pytest.mark.parametrize(
    ("cell", "turns", "what"),
    [
        (None, ("",), "is empty"),
        (float("nan"), ("",), "is empty"),
        ("", ("",), "is empty"),
        (" \n", ("",), "is empty"),
        ("hello", ("hello",), "is not JSON: 'hello'"),
        ("['a']", ("['a']",), """is not JSON: "['a']\""""),
        ('["a"', ('["a"',), "is not JSON"),
        ('["a"] x', ('["a"] x',), "is not JSON"),
        ("half \ud83d", ("half \ufffd",), "is not JSON"),
        ("[" * 100_000, ("[" * 100_000,), "is not JSON"),
        ("[" + "9" * 5000 + "]", ("[" + "9" * 5000 + "]",), "is not JSON"),
        ('"a"', ("a",), "is not a list"),
        ("null", ("",), "is not a list: 'null'"),
        ("5", ("5",), "is not a list: '5'"),
        ("NaN", ("NaN",), "is not a list: 'NaN'"),
        ('{"a": "b"}', ('{"a": "b"}',), "is not a list"),
        (5, ("5",), "is not a list: '5'"),
        ('["a", 5]', ("a", "5"), "contains '5', expected text or null in every turn"),
        ("[true, NaN]", ("true", "NaN"), "contains 'True'"),
        ('[["é"], {"b": null}]', ('["é"]', '{"b": null}'), "contains"),
        ([b"raw"], ("\"b'raw'\"",), "contains"),
    ],
)
def test_parse_turns_of_damaged_cells_keeps_the_text(cell: object, turns: tuple[str, ...], what: str):
    found, complaint = parse_turns(cell)
    assert found == turns
    assert complaint.startswith(what)
    assert "expected" in complaint
    assert len(complaint) < 150


def test_parse_turns_accepts_any_depth_of_nesting():
    # The encoder may fail at depths that the decoder accepts, so depths around the recursion limit are tested.
    def parse_all() -> None:
        for depth in range(2, 1200, 7):
            whole, inner = ("[" * d + "]" * d for d in (depth, depth - 1))
            [turn], complaint = parse_turns(whole)
            assert turn in (whole, inner)
            assert complaint

    failed: list[BaseException] = []
    thread = threading.Thread(target=lambda: _catch(parse_all, failed))  # a separate, nearly empty stack
    thread.start()
    thread.join()
    assert not failed


def _catch(function, failed: list[BaseException]) -> None:
    try:
        function()
    except BaseException as error:
        failed.append(error)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_parse_turns_inverts_join_turns_except_for_lone_surrogates(turns: list[str]):
    cell = join_turns(tuple(turns))
    assert cell.isascii()
    assert json.loads(cell) == turns
    assert parse_turns(cell) == (tuple(turns), "")


@given(CELL | st.text(st.characters()) | st.none() | st.floats() | st.lists(st.none() | st.text(st.characters())))
def test_parse_turns_of_any_cell_returns_at_least_one_turn_in_valid_utf8(cell: object):
    turns, complaint = parse_turns(cell)
    assert turns
    for turn in turns:
        turn.encode("utf-8")
    complaint.encode("utf-8")
    assert "\n" not in complaint


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_repair_text_replaces_lone_surrogates_only(text: str):
    """A pair is a high surrogate (D800 to DBFF) before a low one (DC00 to DFFF): 0x10000 + 1024 * high + low."""

    def join(pair: re.Match[str]) -> str:
        high, low = map(ord, pair.group())
        return chr(0x10000 + (high - 0xD800) * 1024 + low - 0xDC00)

    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", join, text)
    assert repair_text(text) == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in joined)


def test_repair_text_returns_plain_text_unchanged():
    text = "é" * 10
    assert repair_text(text) is text
