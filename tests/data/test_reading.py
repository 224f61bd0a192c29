"""Battle files of every format and dialect give the same battles, whole and in parts."""

import contextlib
import csv
import gzip
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from pyarrow import parquet

from pairrank.data.battles import TEXTS, WINNERS, Battles, concatenate, object_array
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.strategies import ragged_rows, training_rows, valid_battles, write_rows

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_battles(path)
    return str(caught.value)


def changed(rows: list[list[str]], row: int, **cells: str) -> list[list[str]]:
    for name, cell in cells.items():
        rows[row][rows[0].index(name)] = cell
    return rows


# Round trips


@SHARED_FOLDER
@given(battles=valid_battles(least=1))
def test_read_battles_inverts_write_battles(tmp_path: Path, battles: Battles):
    write_battles(battles, tmp_path / "train.csv")
    back = read_battles(tmp_path / "train.csv")
    # A file cannot hold soft labels; everything else is restored.
    assert back.content_hash() == replace(battles, soft=None).content_hash()
    assert back.repairs == ()


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", '"', "\0", "1.5.0"])
def test_ids_and_names_of_any_text_are_read_back(tmp_path: Path, battles: Battles, name: str):
    one = replace(battles.take(slice(0, 1)), id=object_array([name]), model_a=object_array([name]), soft=None)
    write_battles(one, tmp_path / "train.csv")
    assert read_battles(tmp_path / "train.csv").content_hash() == one.content_hash()


def test_the_standard_library_reads_what_write_battles_writes(tmp_path: Path, battles: Battles):
    write_battles(battles, tmp_path / "train.csv")
    with (tmp_path / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "model_a", "model_b", *TEXTS, *WINNERS]
    assert rows[1]["prompt"] == '["What is 2+2?","Sure?"]'
    assert rows[4]["prompt"] == r'["Na\u00efve \ud83d\ude00"]'
    assert [[row[name] for name in WINNERS] for row in rows[1:4]] == [
        ["1", "0", "0"],
        ["0", "1", "0"],
        ["0", "0", "1"],
    ]


# Kinds of files


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.rstrip("\n").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
    ids=["plain", "bom", "windows", "no last line end", "blank lines"],
)
def test_every_dialect_of_csv_gives_the_same_battles(tmp_path: Path, battles: Battles, encode: Any):
    write_battles(battles, tmp_path / "train.csv")
    expected = read_battles(tmp_path / "train.csv").content_hash()
    data = encode((tmp_path / "train.csv").read_text(encoding="utf-8"))
    (tmp_path / "train.csv").write_bytes(data)
    (tmp_path / "train.CSV.gz").write_bytes(gzip.compress(data))
    assert read_battles(tmp_path / "train.csv").content_hash() == expected
    assert read_battles(str(tmp_path / "train.CSV.gz")).content_hash() == expected


@pytest.mark.parametrize("ids", [[5, 12], [5.0, 12.0], ["5", "12"], [" 5", "12 "], [b"5", b"12"]])
@pytest.mark.parametrize(
    "cells",
    [
        [r'["a", null]', r'["\ud83d\ude00", "b\ud83dc"]'],
        [["a", None], ["😀", "b\ufffdc"]],
        [b'["a", null]', b'["\\ud83d\\ude00", "b\\ud83dc"]'],
    ],
    ids=["json", "lists", "bytes"],
)
@pytest.mark.parametrize("winners", [([1, 0], [0, 0], [0, 1]), ([1.0, 0.0], [0.0, 0.0], [0.0, 1.0])])
def test_parquet_gives_the_same_battles_for_any_column_types(tmp_path: Path, ids: Any, cells: Any, winners: Any):
    columns = {
        "id": ids,
        "extra": [1, 2],
        **dict.fromkeys(TEXTS, cells),
        **dict(zip(WINNERS, winners, strict=True)),
    }
    parquet.write_table(pa.table(columns), tmp_path / "train.parquet")
    battles = read_battles(tmp_path / "train.parquet")
    assert battles.id.tolist() == ["5", "12"]
    for name in TEXTS:
        assert getattr(battles, name).tolist() == [("a", ""), ("😀", "b\ufffdc")]
    assert battles.labels.tolist() == [0, 2]
    assert battles.model_a is None


def test_nulls_in_parquet_are_repaired_like_empty_cells(tmp_path: Path):
    text = pa.array([None, '["x"]'], pa.string())
    columns = {"id": pa.array([None, 3.0]), "prompt": text, "response_a": text, "response_b": text}
    parquet.write_table(pa.table(columns), tmp_path / "test.parquet")
    battles = read_battles(tmp_path / "test.parquet", damage="repair")
    assert battles.id.tolist() == ["row-1", "3"]
    assert battles.prompt.tolist() == [("",), ("x",)]
    assert len(battles.repairs) == 4


def test_values_in_parquet_lists_that_are_not_text_become_text(tmp_path: Path):
    cells = pa.array([[["a"], ["b", "é"]]], pa.list_(pa.list_(pa.string())))
    columns = {"id": ["1"], "prompt": cells, "response_a": cells, "response_b": cells}
    parquet.write_table(pa.table(columns), tmp_path / "test.parquet")
    assert read_battles(tmp_path / "test.parquet", "repair").prompt.tolist() == [('["a"]', '["b", "é"]')]


def test_the_id_of_a_parquet_file_may_be_the_index_of_pandas(tmp_path: Path):
    import pandas as pd

    frame = pd.DataFrame({"id": pd.array([1, 2], dtype="Int64"), **{name: ['["x"]'] * 2 for name in TEXTS}})
    frame.set_index("id").to_parquet(tmp_path / "test.parquet")
    assert read_battles(tmp_path / "test.parquet").id.tolist() == ["1", "2"]


def test_columns_are_found_by_name_in_any_order(tmp_path: Path):
    rows = training_rows()
    expected = read_battles(write_rows(tmp_path / "train.csv", rows)).content_hash()
    turned = [[*reversed(row), "extra"] for row in rows]
    assert read_battles(write_rows(tmp_path / "train.csv", turned)).content_hash() == expected


def test_test_files_have_no_models_and_no_winners(tmp_path: Path):
    rows = [[row[0], *row[3:6]] for row in training_rows()]
    battles = read_battles(write_rows(tmp_path / "test.csv", rows))
    assert battles.model_a is battles.model_b is battles.winner is None
    assert battles.response_b.tolist() == [("response_b 1",), ("response_b 2",), ("response_b 3",)]


@pytest.mark.parametrize("cells", ["1", "1.0", "True", " true "])
def test_winners_may_be_numbers_or_booleans(tmp_path: Path, cells: str):
    zero = {"1": "0", "1.0": "0.0", "True": "False", " true ": "false"}[cells]
    rows = [
        [{"1": cells, "0": zero}.get(c, c) if i > 5 else c for i, c in enumerate(row)] for row in training_rows()
    ]
    assert read_battles(write_rows(tmp_path / "train.csv", rows)).labels.tolist() == [0, 1, 2]


# Streaming


@SHARED_FOLDER
@given(rows=ragged_rows())
def test_stream_battles_gives_the_rows_and_repairs_of_the_whole_file(tmp_path: Path, rows: list[list[str]]):
    path = write_rows(tmp_path / "test.csv", rows)
    whole = read_battles(path, damage="repair")
    for size in (1, 2, 100):
        parts = list(stream_battles(path, rows=size))
        assert all(len(part) <= size for part in parts)
        assert len(parts) == max(1, -(-(len(rows) - 1) // size))
        joined = concatenate(parts)
        assert joined.content_hash() == whole.content_hash()
        assert sorted(joined.repairs) == sorted(whole.repairs)


def test_stream_battles_of_a_parquet_file_has_no_empty_part(tmp_path: Path):
    columns = {"id": list(range(25)), **{name: [f'["{i}"]' for i in range(25)] for name in TEXTS}}
    parquet.write_table(pa.table(columns), tmp_path / "test.parquet")
    parts = list(stream_battles(tmp_path / "test.parquet", rows=10))
    assert [len(part) for part in parts] == [10, 10, 5]
    assert concatenate(parts).content_hash() == read_battles(tmp_path / "test.parquet").content_hash()


def test_stream_battles_needs_no_more_memory_for_a_longer_file(tmp_path: Path):
    def peak(n: int) -> int:
        cell = '["' + "x" * 2000 + '"]'
        path = write_rows(tmp_path / "t.csv", [["id", *TEXTS], *([str(i), cell, cell, cell] for i in range(n))])
        tracemalloc.start()
        seen = sum(len(part) for part in stream_battles(path, rows=50))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == n
        return used

    small, large = peak(200), peak(2000)
    # 1,800 more rows hold 10.8 MB of text; only their ids (about 100 bytes each) may be kept.
    assert large - small < 500_000


def test_the_real_battles_have_no_complaints(arena: Path):
    train = read_battles(arena / "train.csv")
    assert len(train) == 1587
    assert train.repairs == ()
    assert np.bincount(train.labels).tolist() == [568, 545, 474]  # counted in the file with csv.DictReader
    test = read_battles(arena / "test.csv", damage="repair")
    assert len(test) == 949
    assert test.repairs == ()
    assert test.model_a is test.winner is None


def test_a_file_without_winners_keeps_its_battles_whatever_is_done_with_damage(tmp_path: Path):
    rows = [{"prompt": f"p{i}", "response 1": "a", "response 2": "b", "scenario": "s"} for i in range(5)]
    (path := tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for part in stream_battles(path, rows=2, damage="drop"):
        assert part.winner is None
    assert sum(len(part) for part in stream_battles(path, rows=2, damage="drop")) == 5


@pytest.mark.parametrize("depth", [985, 980, 970])
def test_a_cell_that_is_nested_too_deeply_is_one_message(tmp_path: Path, depth: int):
    cells = {"id": '"1"', "prompt": f'["p", {"[" * depth + "]" * depth}]', "response_a": '"a"', "response_b": '"b"'}
    (path := tmp_path / "x.jsonl").write_text(f"{{{', '.join(f'{json.dumps(k)}: {v}' for k, v in cells.items())}}}")
    with contextlib.suppress(UserError):  # any other error fails; where the stack has room, the cell is text
        read_battles(path, damage="repair")


@pytest.mark.parametrize("cell", ["", " ", "nan"])
def test_winner_columns_that_are_empty_in_every_row_are_those_of_a_test_file(tmp_path: Path, cell: str):
    rows = [row if row[0] == "id" else [*row[:-3], cell, cell, cell] for row in training_rows(5)]
    path = write_rows(tmp_path / "test.csv", rows)
    for battles in (read_battles(path), *stream_battles(path), *stream_battles(path, damage="drop")):
        assert (len(battles), battles.winner, battles.repairs) == (5, None, ())
