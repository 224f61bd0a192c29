"""What every schema promises, whichever columns it has."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from pairrank.data.battles import Battles, concatenate
from pairrank.data.cells import number_of, text_of
from pairrank.data.formats.registry import schemas
from pairrank.data.reading import read_battles, read_training_battles, stream_battles
from pairrank.data.tables import Table
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.held import HOLDS, held_battles
from tests.support.plain_texts import ENDINGS, assert_held, recognised, write_json_lines

FIXTURES = {path.stem: path for path in (Path(__file__).parent / "fixtures").glob("*.jsonl")}
JUDGED = sorted(name for name in FIXTURES if schemas()[name].verdict)
"""Schemas in which columns of their own say who has won."""


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a fixture that hold a battle with a winner, each of which gives battles of its own."""
    lines = [json.loads(line) for line in FIXTURES[name].read_text(encoding="utf-8").splitlines()]
    schema = schemas()[name]
    return [line for line in lines if is_battle(schema(), line)]


def is_battle(schema: Any, row: dict[str, Any]) -> bool:
    try:
        return bool(list(schema.votes(row)))
    except ValueError:
        return False


def emptied(name: str, row: dict[str, Any], cell: Any = None) -> dict[str, Any]:
    """The row without a winner, its columns left in."""
    return row | dict.fromkeys(set(schemas()[name].verdict) & set(row), cell)


def texts(battles: Battles) -> list[tuple[Any, ...]]:
    return list(zip(battles.prompt, battles.response_a, battles.response_b, strict=True))


# Rows without a winner


@pytest.mark.parametrize("cell", [None, "", "nan"])
@pytest.mark.parametrize("name", JUDGED)
def test_a_file_whose_winners_are_all_empty_has_battles_to_predict(tmp_path: Path, name: str, cell: Any):
    rows = [emptied(name, row, cell) for row in rows_of(name)]
    path = write_json_lines(tmp_path / "test.jsonl", rows)
    bare = [{k: v for k, v in row.items() if k not in schemas()[name].verdict} for row in rows]
    without = read_battles(write_json_lines(tmp_path / "bare.jsonl", bare)) if name in OPTIONAL else None
    for damage in ("raise", "repair"):
        battles = read_battles(path, damage=damage)
        assert len(battles) == len(rows)
        assert battles.winner is battles.soft is None
        assert battles.repairs == ()
        assert without is None or without.content_hash() == battles.content_hash()
    for size in (1, 3):
        parts = list(stream_battles(path, rows=size, damage="drop"))
        assert sum(map(len, parts)) == len(rows)
        assert all(part.winner is None for part in parts)
    with pytest.raises(UserError, match="the file contains no winners") as caught:
        read_training_battles(path)
    assert ", ".join(schemas()[name].verdict) in str(caught.value)


ID = {"chatbot_arena": "question_id", "pandalm": "idx"}
"""The columns of ids that are not called `id`."""
MODEL_COLUMNS = ("model_a", "model_b", "model_a_name", "model_b_name", "tstamp", "question_id")
"""Required columns that are no texts."""
OPTIONAL = [name for name in JUDGED if not set(schemas()[name].verdict) & set(schemas()[name].required)]


@pytest.mark.parametrize("name", JUDGED)
def test_a_row_without_a_winner_is_dropped_in_training_and_kept_in_prediction(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
):
    rows = rows_of(name)
    rows[1] = emptied(name, rows[1])
    path = write_json_lines(tmp_path / "some.jsonl", rows)
    kept = read_battles(path, damage="repair")
    assert "without a winner 1: " in caplog.text
    caplog.clear()
    train = read_training_battles(path)
    assert "dropped 1: " in caplog.text
    assert kept.winner is kept.soft is None
    assert len(kept) == len(train) + 1
    assert texts(kept)[:1] + texts(kept)[2:] == texts(train) or name == "pandalm"
    assert set(train.id) < set(kept.id)
    assert concatenate(list(stream_battles(path, rows=1, damage="drop"))).content_hash() == train.content_hash()
    assert all(part.winner is not None or part.soft is None for part in stream_battles(path, rows=1))


@pytest.mark.parametrize("name", JUDGED)
def test_a_winner_after_many_rows_without_one_makes_a_training_file(tmp_path: Path, name: str):
    *_, last = rows = rows_of(name)
    many = [emptied(name, row) for row in rows for _ in range(250 // len(rows) + 1)]
    numbered = [row | {ID.get(name, "id"): f"n{i}"} for i, row in enumerate([*many, last])]
    battles = read_battles(write_json_lines(tmp_path / "late.jsonl", numbered))
    assert battles.winner is not None
    assert 1 <= len(battles) <= 3


@pytest.mark.parametrize("name", JUDGED)
def test_a_damaged_winner_is_a_complaint_and_its_battle_is_still_predicted(tmp_path: Path, name: str):
    rows = rows_of(name)
    rows[1] |= {column: {"a": 1} for column in schemas()[name].verdict if column in rows[1]}
    path = write_json_lines(tmp_path / "odd.jsonl", rows)
    with pytest.raises(UserError, match=r"1 complaint\n.*row 2: "):
        read_battles(path)
    kept = read_battles(path, damage="repair")
    assert [line.endswith("; it has no winner") for line in kept.repairs] == [True]
    [train] = stream_battles(path, damage="drop")
    assert set(kept.id) > set(train.id)


@pytest.mark.parametrize("cell", [None, 5, []])
@pytest.mark.parametrize("name", JUDGED)
def test_every_row_of_a_file_to_predict_gives_a_battle_with_its_id_whatever_its_texts(
    tmp_path: Path, name: str, cell: Any
):
    schema, rows = schemas()[name], rows_of(name)
    path = tmp_path / "test.jsonl"
    numbered = [emptied(name, row) | {ID.get(name, "id"): f"n{i}"} for i, row in enumerate(rows)]
    expected = read_battles(write_json_lines(path, numbered), damage="repair")
    for column in {*schema.required} - {*schema.verdict, ID.get(name, "id"), "judge", *MODEL_COLUMNS}:
        damaged = [row | {column: cell} if i == 1 else row for i, row in enumerate(numbered)]
        found = read_battles(write_json_lines(path, damaged), damage="repair", schema=name)
        assert found.id.tolist() == expected.id.tolist()
        assert found.lost_rows == 0
        assert texts(found)[:1] + texts(found)[2:] == texts(expected)[:1] + texts(expected)[2:]


def test_a_row_to_predict_keeps_the_texts_that_can_be_read(tmp_path: Path):
    row = {"id": "x", "prompt": "p", "response_a": None, "response_b": "b", "winner": ""}
    path = write_json_lines(tmp_path / "test.jsonl", [row, row | {"id": "y", "response_a": "a", "prompt": 5}])
    found = read_battles(path, damage="repair", schema="wsdm")
    assert texts(found) == [(("p",), ("",), ("b",)), (("",), ("a",), ("b",))]
    assert found.repairs == (
        "row 1, id x: response_a is missing; read as empty text",
        "row 2, id y: prompt is 5, expected text; read as empty text",
    )


def test_a_conversation_that_is_missing_in_a_row_to_predict_has_the_prompt_of_the_other(tmp_path: Path):
    row = rows_of("arena_140k")[0] | {"winner": None}
    path = tmp_path / "test.jsonl"
    whole = read_battles(write_json_lines(path, [row]), damage="repair")
    found = read_battles(write_json_lines(path, [row | {"conversation_a": None}]), damage="repair")
    assert found.id.tolist() == whole.id.tolist()
    assert (found.prompt[0], found.response_b[0]) == (whole.prompt[0], whole.response_b[0])
    assert set(found.response_a[0]) == {""}


def test_the_fixtures_have_the_winners_that_the_tests_above_take_away():
    assert len(JUDGED) == 10
    assert all(len(rows_of(name)) >= 4 for name in JUDGED)
    assert recognised(FIXTURES["wsdm"]) == "wsdm"


# Made-up ids

NUMBERED = ("id", "idx", "conversation_pair_id")
"""Columns of ids in the files of a schema, without which ids are made up."""
WITHOUT_IDS = sorted(set(FIXTURES) - {"wsdm", "chatbot_arena", "arena_140k"})
"""Schemas whose files need no ids."""


@pytest.mark.parametrize("name", WITHOUT_IDS)
def test_rows_that_are_repeated_have_different_ids_however_many_are_read_at_a_time(tmp_path: Path, name: str):
    rows = [row | {column: None for column in NUMBERED if column in row} for row in rows_of(name)]
    # Each row three times, in blocks and in turn.
    path = write_json_lines(tmp_path / "again.jsonl", [*rows, *(row for row in rows for _ in range(2))])
    whole = read_battles(path, schema=name)
    once = read_battles(write_json_lines(tmp_path / "once.jsonl", rows), schema=name)
    assert len(set(whole.id)) == len(whole) == 3 * len(once)
    assert whole.id[: len(once)].tolist() == once.id.tolist()
    for size in (1, 2, 5):
        parts = list(stream_battles(path, rows=size, damage="drop", schema=name))
        assert concatenate(parts).id.tolist() == whole.id.tolist()
    assert read_battles(path, damage="repair", schema=name).id.tolist() == whole.id.tolist()


@example([("a", "s"), ("a", "s"), ("a", "s"), ("a-s-again-2", "s"), ("a-s", "s")])
@example([("a-s-again-2", "s"), ("a", "s"), ("a", "s"), ("a", "s")])
@given(st.lists(st.tuples(st.sampled_from(["a", "a-s", "a-s-again-2", "a-again-2", ""]), st.sampled_from("st"))))
def test_no_made_up_id_is_the_name_of_another_row(names: list[tuple[str, str]]):
    schema = schemas()["reward_bench"]()
    rows = [
        {"id": name, "prompt": "p", "chosen": "yes", "rejected": "no", "subset": subset} for name, subset in names
    ]
    columns = ["id", "prompt", "chosen", "rejected", "subset"]
    table = Table(columns, {column: [row[column] for row in rows] for column in columns}, 1, [])
    ids = schema.parse(table).battles.id.tolist()
    assert len(set(ids)) == len(ids) == len(names)


# Types of cells


def in_types(cell: Any) -> list[Any]:
    """A number of a fixture in the types in which files and tables hold it."""
    if isinstance(cell, bool) or not isinstance(cell, int | float) or cell != cell:
        return []
    return [Decimal(str(cell)), np.float64(cell), Fraction(cell), str(cell)]


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_a_number_means_the_same_in_every_numeric_type(name: str):
    rows = rows_of(name)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    plain = schemas()[name]().parse(Table(columns, {c: [row.get(c) for row in rows] for c in columns}, 1, []))
    for kind in range(4):
        turned = [
            {c: values[kind] if (values := in_types(cell)) and c not in IDS else cell for c, cell in row.items()}
            for row in rows
        ]
        table = Table(columns, {c: [row.get(c) for row in turned] for c in columns}, 1, [])
        parsed = schemas()[name]().parse(table)
        assert parsed.complaints == []
        assert parsed.winner.tolist() == plain.winner.tolist()
        assert parsed.battles.id.tolist() == plain.battles.id.tolist()
        for column in ("strength", "soft"):
            found, expected = (getattr(each.battles, column) for each in (parsed, plain))
            assert found is expected or found.tolist() == expected.tolist()


IDS = ("id", "idx", "question_id", "conversation_pair_id", "tstamp", "turn")
"""Columns that are text to pairrank, or not read as fractions."""

OTHERS = (
    "is_code",
    "occupational_tags",
    "judge_hash",
    "selected_category",
    "annotator_index",
    "conversation_pair_id",
)
"""Columns that add to a detail or stand in for it."""
DETAIL_COLUMNS = {
    "alpaca_eval": {"annotator": "judge", "dataset": "category"},
    "arena_140k": {
        "evaluation_session_id": "group",
        "language": "language",
        "category_tag": "category",
        "timestamp": "time",
    },
    "auto_j": {"scenario": "category"},
    "chatbot_arena": {"judge": "judge", "language": "language", "category_tag": "category", "tstamp": "time"},
    "comparia": {
        "session_hash": "group",
        "visitor_id": "judge",
        "languages": "language",
        "categories": "category",
        "timestamp": "time",
    },
    "helpsteer": {"domain": "category", "language": "language"},
    "pandalm": {"motivation_app": "category"},
    "reward_bench": {"subset": "category"},
    "wsdm": {"language": "language"},
}


@pytest.mark.parametrize("name", DETAIL_COLUMNS)
@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (["fr", None, "en"], "fr,en"),
        ([], ""),
        ({"math_v0.1": {"math": True, "score": 1}, "if": {"if": False}, "code": True}, "math,code"),
        ({"math": False}, ""),
        ({"name": "x", "rank": Decimal(1)}, '{"name": "x", "rank": "1"}'),
        ([{"name": "x"}, "y"], '{"name": "x"},y'),
        (Decimal("2.50"), "2.50"),
    ],
)
def test_a_detail_that_is_a_list_or_a_table_is_shown_as_text(name: str, cell: Any, text: str):
    row = {k: v for k, v in rows_of(name)[0].items() if k not in OTHERS}
    for column, detail in DETAIL_COLUMNS[name].items():
        [vote] = list(schemas()[name]().votes(row | {column: cell}))[:1]
        assert getattr(vote, detail) == text
    assert set(DETAIL_COLUMNS[name].values()) <= set(schemas()[name].carries)


@pytest.mark.parametrize("cell", [Decimal("sNaN"), Decimal("NaN")])
def test_a_decimal_that_is_not_a_number_is_a_missing_value(cell: Decimal):
    assert (text_of(cell), number_of(cell)) == ("", None)


def test_decimals_of_parquet_are_read(tmp_path: Path):
    texts = {"prompt": ["p"], "response_1": ["a"], "response_2": ["b"]}
    score = pa.array([Decimal("-2.00")], pa.decimal128(5, 2))
    parquet.write_table(pa.table(texts | {"preference_strength": score}), tmp_path / "t.parquet")
    assert read_battles(tmp_path / "t.parquet").strength.tolist() == [2 / 3]


# Round trips

SHARED_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15
)


def read_fixture(name: str) -> Battles:
    """The battles of a fixture, without the rows that a training file may not have."""
    return concatenate(list(stream_battles(FIXTURES[name], damage="drop")))


def test_every_schema_that_is_written_is_among_those_tested_here():
    assert set(HOLDS) == {name for name, schema in schemas().items() if schema.is_written}
    assert set(HOLDS) == set(FIXTURES) | {"kaggle"}


@pytest.mark.parametrize("ending", ["csv", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_a_fixture_is_written_and_read_again_unchanged(tmp_path: Path, name: str, ending: str):
    assert 10 <= len(FIXTURES[name].read_text(encoding="utf-8").splitlines()) <= 20
    battles = read_fixture(name)
    path = tmp_path / f"again.{ending}"
    assert write_battles(battles, path, name) == []
    assert recognised(path) == name
    assert read_battles(path).content_hash() == battles.content_hash()


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_exchanged_sides_are_written_and_read_unless_they_are_drawn(tmp_path: Path, name: str):
    battles = read_fixture(name)
    write_battles(battles.swap(), tmp_path / "swapped.jsonl", name)
    back = read_battles(tmp_path / "swapped.jsonl")
    # Equal answers have no drawn side, so that their battle stays exchanged.
    same = np.array([a == b for a, b in zip(battles.response_a, battles.response_b, strict=True)])
    expected = battles if HOLDS[name].drawn else battles.swap()
    assert_held(expected.take(~same), back.take(~same), [])  # no hash, which tells 0 and -0 apart


@pytest.mark.parametrize("name", HOLDS)
@SHARED_FOLDER
@given(data=st.data(), ending=st.sampled_from(ENDINGS))
def test_any_battles_that_a_schema_holds_are_read_back(tmp_path: Path, name: str, data: st.DataObject, ending: str):
    battles = data.draw(held_battles(name))
    path = tmp_path / f"any.{ending}"
    assert write_battles(battles, path, name) == []
    # Texts of which all look like lists of turns are taken for Kaggle's; the test above recognises the rest.
    assert_held(battles, read_battles(path, schema=name), [])


# Drawn sides

CHOSEN: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "hh_rlhf": lambda i, text: {"": f"\n\nHuman: Question {i}?\n\nAssistant: {text} {i}"},
    "trl_preference": lambda i, text: {"": f"{text} {i}", "prompt": f"Question {i}?"},
    "reward_bench": lambda i, text: {"": f"{text} {i}", "prompt": f"Question {i}?", "subset": "all"},
}
"""An answer, under "", and the other columns of a row."""


def chosen_rows(name: str, chosen: str = "yes", rejected: str = "no", n: int = 1_000) -> list[dict[str, Any]]:
    """Rows with a chosen and a rejected answer to each of n questions."""
    rows = []
    for i in range(n):
        one, other = CHOSEN[name](i, chosen), CHOSEN[name](i, rejected)
        rows.append({"id": str(i), "chosen": one.pop(""), "rejected": other.pop(""), **one})
    return rows


@pytest.mark.parametrize("name", CHOSEN)
def test_half_of_the_chosen_answers_are_a_in_any_order(tmp_path: Path, name: str):
    rows = chosen_rows(name)
    battles = read_battles(write_json_lines(tmp_path / "rows.jsonl", rows))
    assert recognised(tmp_path / "rows.jsonl") == name
    assert 470 <= (battles.labels == 0).sum() <= 530
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = read_battles(write_json_lines(tmp_path / "shuffled.jsonl", [rows[i] for i in order]))
    assert shuffled.content_hash() == battles.take(order).content_hash()


@pytest.mark.parametrize("name", CHOSEN)
def test_exchanging_chosen_and_rejected_exchanges_the_winners_alone(tmp_path: Path, name: str):
    battles = read_battles(write_json_lines(tmp_path / "rows.jsonl", chosen_rows(name, n=100)))
    exchanged = chosen_rows(name, chosen="no", rejected="yes", n=100)
    other = read_battles(write_json_lines(tmp_path / "exchanged.jsonl", exchanged))
    assert replace(other, winner=1 - other.labels).content_hash() == battles.content_hash()
