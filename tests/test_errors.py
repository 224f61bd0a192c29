from types import SimpleNamespace
from typing import Any

import pytest

from pairrank.errors import LONGEST_MESSAGE, UserError, bounds_complaints, combined_error, excerpt, unknown_name


def test_user_error_is_a_value_error_that_libraries_can_catch():
    assert issubclass(UserError, ValueError)


def test_a_message_of_any_length_keeps_its_beginning_and_its_end():
    message = str(UserError("a.csv: " + "x" * 10**6 + " Export it again."))
    assert len(message) == LONGEST_MESSAGE
    assert message.startswith("a.csv: xxx")
    assert message.endswith("xxx Export it again.")
    assert str(UserError("x" * LONGEST_MESSAGE)) == "x" * LONGEST_MESSAGE


LARGE = {
    "text": "x" * 10**7,
    "control": "\0\n" * 10**6,
    "integer": 10**100_000,
    "list": [["y" * 10**6] * 1000] * 1000,
    "table": {"a" * 10**6: "b" * 10**6},
    "bytes": b"z" * 10**6,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_an_excerpt_of_any_value_is_short_and_printable(value: Any):
    text = excerpt(value, 60)
    assert 10 < len(text) <= 60
    assert text.isprintable()


@pytest.mark.parametrize("value", ["abc", 12, [1, 2], None, {"a": 1.5}])
def test_an_excerpt_of_a_short_value_is_its_repr(value: Any):
    assert excerpt(value) == repr(value)


def test_combined_error_prints_up_to_ten_complaints():
    lines = str(combined_error("a.csv", [f"id {i}: wrong" for i in range(10)], "Mend them.")).splitlines()
    assert lines[0] == "a.csv: 10 complaints"
    assert lines[1:11] == [f"  - id {i}: wrong" for i in range(10)]
    assert lines[11:] == ["Mend them."]


def test_combined_error_counts_the_complaints_beyond_ten():
    lines = str(combined_error("a.csv", [f"id {i}: wrong" for i in range(1234)], "Mend them.")).splitlines()
    assert lines[0] == "a.csv: 1,234 complaints"
    assert len(lines) == 1 + 10 + 1 + 1
    assert lines[11] == "  - … and 1,224 more"


def test_combined_error_of_one_complaint_uses_the_singular():
    assert str(combined_error("a.csv", ["id 1: wrong"], "Mend it.")).startswith("a.csv: 1 complaint\n")


def test_unknown_name_suggests_the_most_similar_known_name():
    assert unknown_name("model", "priro", ["siamese", "prior"]) == (
        "no model is called 'priro'. Did you mean 'prior'? Known: prior, siamese."
    )


def test_unknown_name_lists_the_known_names_without_a_suggestion_if_none_is_similar():
    assert unknown_name("model", "zzz", ["b", "a"]) == "no model is called 'zzz'. Known: a, b."
    assert unknown_name("model", "zzz", []) == "no model is called 'zzz'. Known: none."


def test_bounds_complaints_names_each_invalid_setting_with_its_value():
    settings = SimpleNamespace(low=1, high=9)
    assert bounds_complaints(settings, {"low": (True, "1 or more"), "high": (False, "5 or less")}) == [
        "high = 9: expected 5 or less."
    ]


def test_a_notebook_shows_the_message_alone():
    """IPython shows what this method returns, in place of a traceback."""
    assert UserError("a.csv: \x1b[2J wrong")._render_traceback_() == ["UserError: a.csv: \\x1b[2J wrong"]
