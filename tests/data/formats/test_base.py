"""Every schema is found and described, recognises its own files, and shares no file with another one."""

import ast
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pairrank.data.formats
from pairrank.data.battles import DETAILS, MODELS, Battles
from pairrank.data.formats.base import RowSchema, Schema, left_out
from pairrank.data.formats.registry import all_columns, nearest, recognise, schemas
from pairrank.data.formats.vote import is_first
from pairrank.data.reading import SAMPLE, read_battles
from pairrank.data.tables import Table, read_tables
from pairrank.errors import LONGEST_MESSAGE, UserError
from tests.support.battles import tiny_battles
from tests.support.strategies import TEXT

SOURCES = {path.stem: path for path in Path(pairrank.data.formats.__file__).parent.glob("*.py")}
SHARED = {"__init__", "arena", "base", "pairs", "registry", "vote"}
"""Files of the folder that are no schema."""

FIXTURES = {path.stem: path for path in (Path(__file__).parent / "fixtures").glob("*.jsonl")}
FIXTURES |= {"kaggle": Path(__file__).parents[3] / "Dataset" / "sample" / "train.csv"}

HELPSTEER2 = {"prompt": "Hi", "response_1": "Hello", "response_2": "Hey", "preference_strength": 1}


def first_table(path: Path) -> Table:
    return next(read_tables(path, SAMPLE, all_columns()))


def table_of(*rows: dict[str, Any]) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, {name: [row.get(name) for row in rows] for name in columns}, 1, [])


def message(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_battles(path)
    return str(caught.value)


# The registry


def test_every_file_of_the_folder_is_a_schema_of_that_name_or_shared():
    assert set(schemas()) == set(SOURCES) - SHARED
    assert len(schemas()) == 15
    assert all(schema.name == name for name, schema in schemas().items())


@pytest.mark.parametrize("name", sorted(set(SOURCES) - SHARED))
def test_every_schema_says_what_it_is_what_it_requires_and_where_it_is_from(name: str):
    schema = schemas()[name]
    assert issubclass(schema, Schema)
    assert schema.about == schema.about.strip() != ""
    assert len(schema.about) < 100
    assert not schema.about.endswith(".")
    assert schema.required
    assert len(schema.required) + len(schema.optional) == len({*schema.required, *schema.optional})
    assert schema.__dict__["__doc__"].strip()
    assert "\n\nSource: " in (sys.modules[schema.__module__].__doc__ or "")


def test_what_is_said_of_one_schema_is_said_of_no_other():
    assert len({schema.about for schema in schemas().values()}) == len(schemas())


@pytest.mark.parametrize("name", sorted(set(SOURCES) - SHARED - {"kaggle"}))
def test_what_the_rows_of_a_schema_carry_are_columns_of_battles(name: str):
    schema = schemas()[name]
    assert issubclass(schema, RowSchema)
    assert set(schema.carries) <= {*MODELS, *DETAILS, "both_bad", "strength", "weight", "soft"}
    assert len(set(schema.carries)) == len(schema.carries)


def test_all_columns_are_those_that_some_schema_reads():
    assert all_columns() == {name for s in schemas().values() for name in s.required + s.optional}


def test_no_schema_imports_another_one_but_helpsteer2():
    imports = set()
    for name, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            found = {str(each).rpartition(".")[2] for each in names if "data.formats." in f"{each}."}
            imports |= {(name, other) for other in found - SHARED - {"formats"}}
    assert imports == {("helpsteer2", "helpsteer")}


# Recognition


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_a_schema_recognises_its_own_files_and_no_others(name: str):
    table = first_table(FIXTURES[name])
    assert recognise(table) is schemas()[name]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(table.columns).tolist()
        cells = {column: table.cells[column] for column in order if column in table.cells}
        assert recognise(Table(order, cells, 1, [])) is schemas()[name]


def test_helpsteer2_recognises_its_own_columns():
    assert recognise(table_of(HELPSTEER2)) is schemas()["helpsteer2"]


def test_of_several_schemas_the_one_that_requires_the_most_columns_is_recognised():
    both = ("reward_bench", "trl_preference")  # the second reads more of these columns, and requires fewer
    row = dict.fromkeys(
        (name for each in both for name in schemas()[each].required + schemas()[each].optional), "a"
    )
    assert recognise(table_of(row)) is schemas()["reward_bench"]


def test_every_schema_has_a_file_that_it_recognises():
    assert set(FIXTURES) | {"helpsteer2"} == set(schemas())


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_a_file_with_columns_that_no_schema_knows_besides_is_recognised(name: str):
    table = first_table(FIXTURES[name])
    assert recognise(Table(["unknown", *table.columns, "Unnamed: 0"], table.cells, 1, [])) is schemas()[name]


NEAREST = {
    ("chatbot_arena", "tstamp"): "mt_bench",
    ("helpsteer", "context"): "pandalm",
    ("mt_bench", "judge"): "chatbot_arena",
    ("trl_preference", "chosen"): "reward_bench",
    ("trl_preference", "rejected"): "reward_bench",
}
"""Schemas other than a file's own that are the nearest without one of its columns."""


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_nearest_of_a_file_without_one_of_its_columns_names_what_is_lacking(name: str):
    table = first_table(FIXTURES[name])
    for lost in schemas()[name].required:
        if not recognise(without(table, lost)):
            schema, lacking = nearest(without(table, lost))
            assert schema is schemas()[NEAREST.get((name, lost), name)]
            assert set(schema.required) - set(table.columns) | {lost} >= set(lacking)
            assert not set(lacking) & set(without(table, lost).columns)


def without(table: Table, name: str) -> Table:
    cells = {column: values for column, values in table.cells.items() if column != name}
    return Table([column for column in table.columns if column != name], cells, 1, [])


# Unknown tables


@pytest.mark.parametrize(
    ("row", "schema", "lacking"),
    [
        ({"id": 1, "prompt": "a", "response_a": "b"}, "kaggle", ["response_b"]),
        ({"prompt": "a", "answer_0": "b", "question": "c"}, "webgpt", ["answer_1"]),
        ({"instruction": "a", "output_1": "b"}, "alpaca_eval", ["output_2"]),
        ({"prompt": "a", "response 1": "b"}, "auto_j", ["response 2"]),
        ({"prompt": "a", "response_1": "b", "response_2": "c"}, "helpsteer2", ["preference_strength"]),
        ({"x": "a"}, "kaggle", ["id", "prompt", "response_a", "response_b"]),
    ],
)
def test_an_unknown_table_is_one_message_with_the_nearest_schema_and_the_columns_it_lacks(
    tmp_path: Path, row: dict[str, str], schema: str, lacking: list[str]
):
    found = message(tmp_path / "x.jsonl", row)
    assert found.startswith(f"{tmp_path / 'x.jsonl'}: {len(lacking)} complaint")
    assert f"The nearest schema is {schema} ({schemas()[schema].about})" in found
    assert [line for line in found.splitlines() if "  - " in line] == [f"  - missing column {c!r}" for c in lacking]
    assert all(repr(column) in found for column in row)


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        ({"response1": "a", "response2": "b"}, "pandalm"),
        (dict.fromkeys(schemas()["comparia"].required, 3), "comparia"),
        (dict.fromkeys(schemas()["arena_140k"].required, 3), "arena_140k"),
    ],
)
def test_a_table_with_all_columns_of_a_schema_but_other_contents_is_one_complaint(
    tmp_path: Path, row: dict[str, Any], schema: str
):
    found = message(tmp_path / "x.jsonl", row)
    assert ": 1 complaint\n" in found
    assert f"  - the first rows are not those of schema {schema}" in found


@pytest.mark.parametrize("count", [1, 20, 5_000])
def test_a_message_about_columns_of_any_number_and_length_is_bounded(tmp_path: Path, count: int):
    row = {f"{i}{'x' * 1_000}": 1 for i in range(count)} | {"chosen": "a"}
    found = message(tmp_path / "x.jsonl", row)
    assert len(found) <= LONGEST_MESSAGE
    assert "missing column 'rejected'" in found
    assert "The nearest schema is " in found


# The draw of sides

TURNS = st.lists(TEXT, min_size=1, max_size=3).map(tuple)


@given(TURNS, TURNS, TURNS)
def test_is_first_holds_for_one_of_two_answers_whichever_is_preferred(prompt: Any, one: Any, other: Any):
    assert is_first(prompt, one, other) == is_first(prompt, one, other)
    if one != other:
        assert is_first(prompt, one, other) != is_first(prompt, other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("yes {}", "no {}"), ("a", "b"), ("{}", "{} and more"), ("short", "z" * 1000)]
)
def test_is_first_is_even_over_prompts_whatever_the_preferred_answer_looks_like(one: str, other: str):
    """10,000 fair draws have a standard deviation of .5 %. The texts are fixed, so that the result never varies."""
    drawn = [is_first((f"Question {i}",), (one.format(i),), (other.format(i),)) for i in range(10_000)]
    assert 0.48 <= np.mean(drawn) <= 0.52


def test_is_first_depends_on_the_prompt_and_both_answers():
    texts = [(f"{i}",) for i in range(100)]
    for draws in (
        [is_first(text, ("a",), ("b",)) for text in texts],
        [is_first(("p",), (f"a{text[0]}",), ("b",)) for text in texts],
        [is_first(("p",), ("a",), (f"b{text[0]}",)) for text in texts],
        [is_first(("p", *text), ("a",), ("b",)) for text in texts],
    ):
        assert 0.3 < np.mean(draws) < 0.7


# Columns without a place


def test_left_out_names_given_columns_that_are_not_kept_in_their_order(battles: Battles):
    assert left_out(battles, ()) == ["model_a", "model_b", "soft"]
    assert left_out(battles, ("soft", "model_a", "group")) == ["model_b"]
    assert left_out(battles.take(slice(0, 0)), MODELS) == ["soft"]


def test_a_schema_that_is_read_only_refuses_to_write(battles: Battles):
    with pytest.raises(UserError, match="read, not written"):
        schemas()["helpsteer2"]().columns(battles)
    assert importlib.import_module("pairrank.data.formats.helpsteer2").HelpSteer2 is schemas()["helpsteer2"]


def test_strengths_that_are_not_known_are_not_lost():
    battles = tiny_battles(6)
    for strength, lost in ((0.0, []), (0.5, ["strength"])):
        with_strength = replace(battles, strength=np.full(6, strength), model_a=None, model_b=None)
        assert left_out(with_strength, ()) == lost
