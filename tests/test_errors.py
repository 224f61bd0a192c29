from pairrank.errors import UserError, combined_error, unknown_name


def test_a_user_error_is_a_value_error_so_that_libraries_may_catch_it():
    assert issubclass(UserError, ValueError)


def test_up_to_ten_complaints_are_all_spelled_out():
    lines = str(combined_error("a.csv", [f"id {i}: wrong" for i in range(10)], "Mend them.")).splitlines()
    assert lines[0] == "a.csv: 10 complaints"
    assert lines[1:11] == [f"  - id {i}: wrong" for i in range(10)]
    assert lines[11:] == ["Mend them."]


def test_more_than_ten_complaints_are_counted_and_none_is_forgotten():
    lines = str(combined_error("a.csv", [f"id {i}: wrong" for i in range(1234)], "Mend them.")).splitlines()
    assert lines[0] == "a.csv: 1,234 complaints"
    assert len(lines) == 1 + 10 + 1 + 1
    assert lines[11] == "  - … and 1,224 more"


def test_one_complaint_is_singular():
    assert str(combined_error("a.csv", ["id 1: wrong"], "Mend it.")).startswith("a.csv: 1 complaint\n")


def test_an_unknown_name_gets_the_nearest_known_one():
    assert unknown_name("model", "priro", ["siamese", "prior"]) == (
        "no model is called 'priro'. Did you mean 'prior'? Known: prior, siamese."
    )


def test_a_name_unlike_any_gets_the_list_and_no_guess():
    assert unknown_name("model", "zzz", ["b", "a"]) == "no model is called 'zzz'. Known: a, b."
    assert unknown_name("model", "zzz", []) == "no model is called 'zzz'. Known: none."
