from types import SimpleNamespace

from pairrank.errors import UserError, bounds_complaints, combined_error, unknown_name


def test_user_error_is_a_value_error_that_libraries_can_catch():
    assert issubclass(UserError, ValueError)


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
