"""The rows of a file are the same, whatever kind of file holds them, and however many are read at a time."""

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from pairrank.data import tables
from pairrank.data.reading import read_battles
from pairrank.data.tables import Table, read_tables, without_suffix
from pairrank.errors import LONGEST_MESSAGE, UserError
from tests.support.strategies import TEXT

SHARED_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
COLUMNS = ("id", "text", "other")
NAMES = ("x", "x.csv", "x.csv.gz", "x.jsonl", "x.jsonl.gz", "x.json", "x.JSON", "x.parquet", "x.PARQUET", "x.png")

Rows = list[dict[str, Any]]


# Each kind of file, written without pairrank


def as_csv(rows: Rows) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([COLUMNS, *([row[name] for name in COLUMNS] for row in rows)])
    return file.getvalue().encode()


def as_lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_array(rows: Rows) -> bytes:
    return json.dumps(rows, indent=30, ensure_ascii=False).encode()


def as_parquet(rows: Rows) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({name: [row[name] for row in rows] for name in COLUMNS}), sink)
    return sink.getvalue().to_pybytes()


def zipped(encode: Callable[[Rows], bytes]) -> Callable[[Rows], bytes]:
    return lambda rows: gzip.compress(encode(rows), mtime=0)


KINDS = [as_csv, as_lines, as_array, as_parquet, zipped(as_csv), zipped(as_lines), zipped(as_array)]

row_lists = st.lists(
    st.tuples(TEXT, TEXT, TEXT).map(lambda cells: dict(zip(COLUMNS, cells, strict=True))), min_size=1, max_size=7
)


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read(path: Path, rows: int = 100, columns: tuple[str, ...] | None = None) -> list[Table]:
    return list(read_tables(path, rows, ("id", "text"), columns))


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    return str(caught.value)


# Content decides


@SHARED_FOLDER
@given(rows=row_lists, kind=st.sampled_from(KINDS), name=st.sampled_from(NAMES), size=st.integers(1, 8))
def test_every_kind_of_file_under_any_name_gives_the_same_rows_in_tables_of_any_size(
    tmp_path: Path, rows: Rows, kind: Callable[[Rows], bytes], name: str, size: int
):
    data = kind(rows)
    if data.startswith(b"\x1f\x8b") and name.lower().endswith(".parquet"):
        name = "x.csv"  # refused, because Parquet that was compressed again cannot be read
    found = read(put(tmp_path / name, data), size)
    expected = [
        [{n: row[n] for n in ("id", "text")} for row in rows[i : i + size]] for i in range(0, len(rows), size)
    ]
    assert [list(table.rows()) for table in found] == expected
    assert [table.first_row for table in found] == list(range(1, len(rows) + 1, size))
    assert [len(table) for table in found] == [len(part) for part in expected]
    assert all(table.columns == list(COLUMNS) and table.complaints == [] for table in found)


@pytest.mark.parametrize("data", [b"id,text\n", b"[]", b" [ ] \n", as_parquet([])])
def test_a_file_without_rows_is_one_table_without_rows(tmp_path: Path, data: bytes):
    (table,) = read(put(tmp_path / "x", data))
    assert (len(table), list(table.rows()), table.first_row, table.complaints) == (0, [], 1, [])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n \n", b"\xef\xbb\xbf\r\n"])
@pytest.mark.parametrize("encode", [as_lines, as_array])
def test_a_byte_order_mark_and_white_space_before_json_are_skipped(
    tmp_path: Path, mark: bytes, encode: Callable[[Rows], bytes]
):
    rows = [{"id": "1", "text": "é", "other": ""}]
    for data in (mark + encode(rows), gzip.compress(mark + encode(rows))):
        assert list(read(put(tmp_path / "x", data))[0].rows()) == [{"id": "1", "text": "é"}]


def test_blank_lines_are_not_rows(tmp_path: Path):
    found = read(put(tmp_path / "x", b'\n{"id": 1}\r\n\n  \n{"id": 2}\n\n'), 1)
    assert [(table.first_row, list(table.rows())) for table in found] == [(1, [{"id": 1}]), (2, [{"id": 2}])]


@pytest.mark.parametrize(
    ("name", "stem"), [("a.csv.gz", "a"), ("a.b.jsonl", "a.b"), ("a.parquet", "a"), ("a.csv.txt", "a.csv.txt")]
)
def test_without_suffix_leaves_out_the_ending_of_a_battle_file(name: str, stem: str):
    assert without_suffix(name) == stem


# Rows of JSON name their own columns


@SHARED_FOLDER
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(COLUMNS), st.none() | TEXT | st.integers()), min_size=1, max_size=7
    ),
    is_array=st.booleans(),
    size=st.integers(1, 8),
)
def test_json_rows_with_other_keys_have_none_in_their_place(tmp_path: Path, rows: Rows, is_array: bool, size: int):
    path = put(tmp_path / "x", as_array(rows) if is_array else as_lines(rows))
    found = read(path, size, COLUMNS)
    expected = [{name: row.get(name) for name in ("id", "text")} for row in rows]
    assert [row for table in found for row in table.rows()] == expected
    assert [table.first_row for table in found] == list(range(1, len(rows) + 1, size))
    assert all(table.columns == list(COLUMNS) for table in found)


def test_the_columns_of_json_are_those_of_the_first_table_unless_they_are_given(tmp_path: Path):
    path = put(tmp_path / "x", b'{"other": 1, "text": "a"}\n{"text": "b", "id": 2}\n{"new": 3}\n')
    assert [table.columns for table in read(path, 2)] == [["other", "text", "id"]] * 2


def test_a_wanted_column_that_the_first_rows_lack_is_never_dropped_without_a_word(tmp_path: Path):
    path = put(tmp_path / "x", b'{"other": 1, "text": "a"}\n{"text": "b", "id": 2}\n')
    with pytest.raises(UserError, match=r"x: row 2 has the column 'id', which the first rows lack"):
        read(path, 1)
    path = put(tmp_path / "y", b'{"text": "a", "id": 1}\n{"text": "b", "unwanted": 2}\n')
    assert [list(table.rows()) for table in read(path, 1)] == [
        [{"text": "a", "id": 1}],
        [{"text": "b", "id": None}],
    ]


@pytest.mark.parametrize("line", [b'{"text": "caf\xe9", "id": 1}', b'{"id": 1, "text": ["\xff"]}'])
def test_bytes_of_json_that_are_not_utf8_are_one_complaint(tmp_path: Path, line: bytes):
    for content in (line + b"\n", b"[" + line + b"]"):
        [table] = read(put(tmp_path / "x", content), 5)
        assert table.complaints == ["row 1: contains bytes that are not UTF-8, expected UTF-8 text"]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("bad", ["3", "null", '"text"', "[1]", "1e5", "true"])
@pytest.mark.parametrize("is_array", [True, False])
def test_a_row_that_is_no_object_is_one_complaint_with_its_row(tmp_path: Path, bad: str, is_array: bool, size: int):
    rows = ['{"id": "a"}', '{"id": "b"}', bad, '{"id": "c"}']
    path = put(tmp_path / "x", (f"[{','.join(rows)}]" if is_array else "\n".join(rows)).encode())
    found = read(path, size)
    (complaint,) = [each for table in found for each in table.complaints]
    assert complaint == f"row 3: is {json.loads(bad)!r}, expected a JSON object"
    assert [row["id"] for table in found for row in table.rows()] == ["a", "b", None, "c"]


@pytest.mark.parametrize("bad", ['{"id": "b"', "b", '{"id": "b"} {"id": "c"}', "[" * 100_000, "9" * 5_000])
def test_a_line_that_is_not_json_is_one_short_complaint_with_its_row(tmp_path: Path, bad: str):
    (table,) = read(put(tmp_path / "x", f'{{"id": "a"}}\n{bad}\n{{"id": "d"}}\n'.encode()))
    assert [row["id"] for row in table.rows()] == ["a", None, "d"]
    (complaint,) = table.complaints
    assert complaint.startswith("row 2: is not JSON: ")
    assert complaint.endswith("expected a JSON object")
    assert len(complaint) < 150


@pytest.mark.parametrize(("line", "count"), [("2", 1), ("2,b,c,d", 4)])
def test_a_row_of_csv_with_too_few_or_too_many_cells_is_one_complaint_with_its_row(
    tmp_path: Path, line: str, count: int
):
    found = read(put(tmp_path / "x", f"id,text,other\n1,a,b\n{line}\n3,a,b\n".encode()), 2)
    assert [each for table in found for each in table.complaints] == [
        f"row 2: {count} cells, expected 3 as in the header"
    ]
    assert [row["id"] for table in found for row in table.rows()] == ["1", "2", "3"]


# JSON arrays are read in parts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@SHARED_FOLDER
@given(items=st.lists(JSON, max_size=5), buffer=st.integers(1, 40), indent=st.sampled_from([None, 0, 1, 30]))
def test_items_of_an_array_are_those_of_the_standard_library_wherever_its_parts_end(
    items: list[Any], buffer: int, indent: int | None
):
    text = json.dumps(items, indent=indent, ensure_ascii=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BUFFER", buffer)
        found = [value for value, _ in tables._array_items(io.StringIO(text))]
    assert found == json.loads(text)


def test_an_array_of_3_mb_with_items_longer_than_a_part(tmp_path: Path):
    rows = [{"id": str(i), "text": letter * 1_100_000} for i, letter in enumerate("aé\n")]
    assert len(rows[0]["text"]) > tables.BUFFER
    data = json.dumps(rows, ensure_ascii=False).encode()
    assert len(data) > 3_000_000
    found = read(put(tmp_path / "x.json", data), 2)
    assert [row for table in found for row in table.rows()] == rows
    assert [table.first_row for table in found] == [1, 3]


@pytest.mark.parametrize("buffer", [1, 7, 2**20])
def test_an_array_that_is_cut_anywhere_is_one_error_that_names_the_file(
    tmp_path: Path, buffer: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tables, "BUFFER", buffer)
    text = '[{"id": "a", "text": ["\\u00e9", 12.5, true]}, {"id": "b\\n"}]'
    for cut in range(1, len(text)):
        path = put(tmp_path / "x.json", text[:cut].encode())
        found = message(path)
        assert found.startswith(f"{path}: damaged file")
    assert [row["id"] for row in read(put(tmp_path / "x.json", text.encode()))[0].rows()] == ["a", "b\n"]


@pytest.mark.parametrize("rest", ["]", '[{"id": "b"}]', '{"id": "b"}', "\n[", " x"])
def test_text_after_the_end_of_an_array_is_an_error_and_not_ignored(tmp_path: Path, rest: str):
    path = put(tmp_path / "x.json", f'[{{"id": "a"}}]\n{rest}'.encode())
    assert message(path).startswith(f"{path}: damaged file")


# Memory


def peak(path: Path, rows: int) -> int:
    tracemalloc.start()
    seen = sum(len(table) for table in read_tables(path, 50, ("id", "text")))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == rows
    return used


@pytest.mark.parametrize("is_array", [True, False])
@pytest.mark.parametrize("is_gzip", [True, False])
def test_a_longer_json_file_needs_no_more_memory(tmp_path: Path, is_array: bool, is_gzip: bool):
    def used(count: int) -> int:
        rows = [{"id": str(i), "text": "x" * 2000} for i in range(count)]
        data = json.dumps(rows).encode() if is_array else as_lines(rows)
        return peak(put(tmp_path / "x", gzip.compress(data, 1) if is_gzip else data), count)

    # 3,000 more rows hold 6 MB of text. Both arrays are longer than a part.
    assert used(5000) - used(2000) < 500_000


def test_a_fault_at_the_beginning_of_a_long_array_is_reported_before_the_rest_is_read(tmp_path: Path):
    path = put(tmp_path / "x.json", b'[{"id": "a", }, ' + b'{"id": "b"}, ' * 1_000_000 + b"{}]")
    tracemalloc.start()
    message(path)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 8_000_000  # the file has 13 MB, a part of it 1 MB


# Messages

LONG = "x" * 100_000
BAD_FILES = {
    "UTF-16": "id,text\n1,a\n".encode("utf-16"),
    "UTF-16 without a mark": "id,text\n1,a\n".encode("utf-16-le"),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100,
    "zip": b"PK\x03\x04" + bytes(1000),
    "PDF": b"%PDF-1.7\n" + LONG.encode(),
    "SQLite": b"SQLite format 3\0" + bytes(1000),
    "empty": b"",
    "open quote": b'id,text\n1,"' + LONG.encode(),
    "cut gzip": gzip.compress(bytes(range(256)) * 1000)[:-20],
    "cut array": f'[{{"id": "{LONG}'.encode(),
    "wrong array": f'[{{"id": "{LONG}"}}, {LONG}]'.encode(),
    "deep array": b"[" * 200_000,
    "number of many digits": b"[" + b"9" * 10_000 + b"]",
    "cut Parquet": as_parquet([dict.fromkeys(COLUMNS, LONG)])[:-50],
    "Parquet alone": b"PAR1",
}


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.json"])
@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_read_is_one_bounded_message_that_begins_with_its_path(
    tmp_path: Path, name: str, data: bytes
):
    path = put(tmp_path / name, data)
    assert message(path).startswith(f"{path}: ")
    assert len(message(path)) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("what", "name"),
    [("UTF-16", "UTF-16"), ("UTF-16 without a mark", "UTF-16"), ("picture", "a picture"), ("PDF", "PDF")],
)
def test_content_of_another_kind_is_named(tmp_path: Path, what: str, name: str):
    for ending in ("csv", "jsonl", "parquet"):
        found = message(put(tmp_path / f"x.{ending}", BAD_FILES[what]))
        assert f"the content is {name}, expected CSV in UTF-8, JSON Lines or Parquet" in found


def test_a_complaint_about_a_row_of_any_length_is_short(tmp_path: Path):
    (table,) = read(put(tmp_path / "x", json.dumps([LONG, [LONG] * 9]).encode()))
    assert len(table.complaints) == 2
    assert all(len(complaint) < 150 for complaint in table.complaints)


@pytest.mark.parametrize(
    "data",
    [
        "\n".join([json.dumps({"id": "1", "prompt": "a", "response_a": "b", "response_b": "c"}), *[LONG] * 200]),
        json.dumps([{f"{i}{LONG}": i for i in range(50)}] * 3),
        f"id,prompt,response_a,response_b\n{LONG},{LONG}\n" * 30,
        json.dumps([LONG] * 30),
        "{" * 50_000,
    ],
    ids=["lines", "keys", "cells", "items", "braces"],
)
def test_a_message_about_rows_or_columns_of_any_length_is_bounded(tmp_path: Path, data: str):
    path = put(tmp_path / "x", data.encode())
    with pytest.raises(UserError) as caught:
        read_battles(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    for path in (tmp_path, tmp_path / "none.csv"):
        assert message(path).startswith(f"{path}: no such file")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train-00000-of-00001.parquet", "train"), ("votes.csv.gz", "votes"), ("train.parquet", "train"), ("a", "a")],
)
def test_without_suffix_leaves_neither_an_ending_nor_the_number_of_a_shard(name: str, expected: str):
    assert without_suffix(name) == expected
