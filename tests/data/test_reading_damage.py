"""Every fault of a battle file is reported in training and repaired in prediction."""

import gzip
import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from pyarrow import parquet

from pairrank.data.battles import TEXTS, WINNERS, Battles, object_array
from pairrank.data.cells import INEXACT
from pairrank.data.predictions import COLUMNS as PREDICTION_COLUMNS
from pairrank.data.predictions import read_predictions
from pairrank.data.reading import MOST_COMPLAINTS, read_battles, stream_battles
from pairrank.data.turns import LONGEST
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import tiny_battles
from tests.support.strategies import ragged_rows, training_rows, write_rows

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_battles(path)
    return str(caught.value)


def changed(rows: list[list[str]], row: int, **cells: str) -> list[list[str]]:
    for name, cell in cells.items():
        rows[row][rows[0].index(name)] = cell
    return rows


# Training data: one error with all complaints


@pytest.mark.parametrize(
    "winners", ["0 0 0", "1 1 0", "1 1 1", "1 0 ", "  ", "1 x 0", "0.5 0.5 0", "1 nan 0", "-1 1 1"]
)
def test_a_row_without_exactly_one_winner_is_a_complaint(tmp_path: Path, winners: str):
    cells = dict(zip(WINNERS, winners.split(" "), strict=True))
    text = message(write_rows(tmp_path / "train.csv", changed(training_rows(), 2, **cells)))
    assert "1 complaint\n" in text
    assert (
        f"id 2: winner columns are {', '.join(c or 'empty' for c in cells.values())}, expected a single 1" in text
    )


def test_all_complaints_are_reported_in_one_error_with_file_ids_and_remedy(tmp_path: Path):
    rows = training_rows(9)
    changed(rows, 1, prompt="not json")
    changed(rows, 2, response_a='["x", "y"]')
    changed(rows, 3, response_b="")
    changed(rows, 4, winner_model_a="1", winner_model_b="1")
    changed(rows, 5, id="6")
    changed(rows, 7, id=" ")
    changed(rows, 8, prompt="[5]")
    rows[9].append("")
    text = message(write_rows(tmp_path / "train.csv", rows))
    for part in [
        "train.csv: 8 complaints",
        "id 1: prompt is not JSON: 'not json', expected a JSON list of turns",
        "id 2: unequal turns (1 in prompt, 2 in response_a, 1 in response_b), expected one answer per prompt turn",
        "id 3: response_b is empty, expected a JSON list of turns",
        "id 4: winner columns are 1, 1, 0, expected a single 1",
        "id 6: repeated in row 6, expected once",
        "row 7: no id, expected one",
        "id 8: prompt contains '5', expected text or null",
        "row 9: 10 cells, expected 9",
        "Correct or remove these rows",
    ]:
        assert part in text
    assert len(text.splitlines()) == 1 + 8 + 1


def test_the_first_ten_complaints_are_shown_and_the_others_counted(tmp_path: Path):
    rows = training_rows(40)
    for row in range(1, 41):
        changed(rows, row, prompt="x")
    text = message(write_rows(tmp_path / "train.csv", rows))
    assert "40 complaints" in text
    assert text.count("id ") == 10
    assert "30 more" in text


def test_missing_columns_are_named_together_with_those_found(tmp_path: Path):
    rows = [[row[0], row[1], *row[4:8]] for row in training_rows()]
    text = message(write_rows(tmp_path / "train.csv", rows))
    for name in ("prompt", "model_b", "winner_tie"):
        assert f"missing column '{name}'" in text
    assert "3 complaints" in text
    assert (
        "Found the columns 'id', 'model_a', 'response_a', 'response_b', 'winner_model_a', 'winner_model_b'" in text
    )


def test_a_column_that_occurs_twice_is_a_complaint(tmp_path: Path):
    rows = [[*row, row[3]] for row in training_rows()]
    assert "column 'prompt' occurs more than once" in message(write_rows(tmp_path / "train.csv", rows))


def test_a_latin1_byte_is_a_complaint_in_training_and_a_repair_in_prediction(tmp_path: Path):
    path = write_rows(tmp_path / "train.csv", changed(training_rows(), 2, prompt='["café"]'))
    path.write_bytes(path.read_bytes().decode("utf-8").encode("latin-1"))
    assert "id 2: prompt contains bytes that are not UTF-8" in message(path)
    battles = read_battles(path, damage="repair")
    assert battles.prompt.tolist() == [("prompt 1",), ("caf\ufffd",), ("prompt 3",)]
    assert len(battles.repairs) == 1


@pytest.mark.parametrize("damage", ["raise", "repair"])
@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("train.csv", b"", "the file is empty"),
        ("train.csv", b"\x89PNG\r\n\x1a\n", "the content is a picture, expected CSV"),
        ("train.csv", gzip.compress(b"id,prompt\n", mtime=0), "missing column 'response_a'"),
        ("train.csv", b"PAR1", "damaged file"),
        ("train.csv", "id,prompt\n".encode("utf-16"), "the content is UTF-16, expected CSV"),
        ("train.csv", "id,prompt\n".encode("utf-16-be"), "the content is UTF-16, expected CSV"),
        ("train.csv", b'[{"id": 1}]', "missing column 'prompt'"),
        ("train.csv", b'[{"id": 1}, 2', "damaged file"),
        ("train.csv.gz", b"PAR1", "damaged file"),
        ("train.parquet", gzip.compress(b"id", mtime=0), "the content is gzip, expected Parquet"),
        ("train.csv", b"id;prompt;response_a;response_b\n", "missing column 'id'"),
        ("train.csv", b"id,prompt,response_b\n1,[],[]\n", "missing column 'response_a'"),
        ("train.csv", b'id,prompt,response_a,response_b\n1,[],[],"[]\n2,[],[],[]\n', "row 1 is never closed"),
        (
            "train.csv.gz",
            gzip.compress(b"id,prompt,response_a,response_b\n1,[],[],[]\n" * 9, mtime=0)[:-9],
            "damaged file",
        ),
        ("train.parquet", b"PAR1", "damaged file"),
        ("train.parquet", b"", "damaged file"),
        ("train.json", b"{}", r"The nearest schema is kaggle .* Found the columns none"),
    ],
)
def test_an_unreadable_file_is_an_error_that_names_it(
    tmp_path: Path, name: str, data: bytes, what: str, damage: Any
):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=what) as caught:
        read_battles(tmp_path / name, damage)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("damage", ["raise", "repair"])
def test_a_missing_file_or_a_folder_is_an_error(tmp_path: Path, damage: Any):
    for path in (tmp_path / "train.csv", tmp_path):
        with pytest.raises(UserError, match="no such file"):
            read_battles(path, damage)


def test_a_header_alone_is_an_error_in_training_and_no_rows_in_prediction(tmp_path: Path):
    write_rows(tmp_path / "train.csv", training_rows(0))
    parquet.write_table(
        pa.table({name: pa.array([], pa.string()) for name in ("id", *TEXTS)}), tmp_path / "t.parquet"
    )
    for path in (tmp_path / "train.csv", tmp_path / "t.parquet"):
        assert "contains no battles" in message(path)
        assert len(read_battles(path, damage="repair")) == 0
        assert [len(part) for part in stream_battles(path)] == [0]


# Battles to predict: damaged rows are repaired


@SHARED_FOLDER
@given(rows=ragged_rows())
def test_repair_keeps_every_row_except_repeated_ids(tmp_path: Path, rows: list[list[str]]):
    battles = read_battles(write_rows(tmp_path / "test.csv", rows), damage="repair")
    expected = [row[0].strip() or f"row-{i}" for i, row in enumerate(rows[1:], 1)]
    assert battles.id.tolist() == list(dict.fromkeys(expected))
    for prompt, a, b in zip(battles.prompt, battles.response_a, battles.response_b, strict=True):
        assert len(prompt) == len(a) == len(b) >= 1
        assert all(isinstance(turn, str) and turn.encode() is not None for turn in (*prompt, *a, *b))
    repeated = [name for i, name in enumerate(expected) if name in expected[:i]]
    assert [line.split(":")[0] for line in battles.repairs if "repeated" in line] == [f"id {n}" for n in repeated]
    assert sum("no id" in line for line in battles.repairs) == sum(not row[0].strip() for row in rows[1:])


def test_every_complaint_with_raise_is_a_repair_with_repair(tmp_path: Path):
    rows = changed(changed(training_rows(), 1, prompt="x"), 2, response_a="[]", response_b='["a", "b"]')
    path = write_rows(tmp_path / "test.csv", rows)
    battles = read_battles(path, damage="repair")
    assert [f"  - {line}" for line in battles.repairs] == message(path).splitlines()[1:-1]
    assert battles.prompt.tolist() == [("x",), ("prompt 2", ""), ("prompt 3",)]
    assert battles.response_a.tolist() == [("response_a 1",), ("", ""), ("response_a 3",)]
    assert battles.labels.tolist() == [0, 1, 2]


def test_valid_files_are_read_alike_with_raise_and_repair(tmp_path: Path, battles: Battles):
    write_battles(battles, tmp_path / "train.csv")
    repaired = read_battles(tmp_path / "train.csv", damage="repair")
    assert repaired.repairs == ()
    assert repaired.content_hash() == read_battles(tmp_path / "train.csv").content_hash()


def test_only_the_first_row_of_an_id_is_used_and_the_order_is_kept(tmp_path: Path):
    rows = changed(changed(training_rows(5), 3, id="1"), 5, id="1")
    battles = read_battles(write_rows(tmp_path / "test.csv", rows), damage="repair")
    assert battles.id.tolist() == ["1", "2", "4"]
    assert battles.prompt[0] == ("prompt 1",)
    assert len(battles.repairs) == 2


def test_an_unknown_winner_is_never_invented(tmp_path: Path):
    path = write_rows(tmp_path / "test.csv", changed(training_rows(), 2, winner_model_b=""))
    battles = read_battles(path, damage="repair")
    assert battles.winner is None
    assert len(battles) == 3
    assert len(battles.repairs) == 1


def test_short_and_long_rows_are_repaired(tmp_path: Path):
    (tmp_path / "test.csv").write_text(
        'id,prompt,response_a,response_b\n1,["p"]\n2,["p"],["a"],["b"],x\n3,[],[],[]\n'
    )
    battles = read_battles(tmp_path / "test.csv", damage="repair")
    assert battles.id.tolist() == ["1", "2", "3"]
    assert battles.response_b.tolist() == [("",), ("b",), ("",)]
    assert "row 1: 2 cells, expected 4 as in the header" in battles.repairs
    assert "row 2: 5 cells, expected 4 as in the header" in battles.repairs


def test_rows_with_one_cell_more_than_the_header_do_not_shift(tmp_path: Path):
    # pandas uses the first column of such a file as the index and shifts every cell one column to the left.
    (tmp_path / "test.csv").write_text(
        'id,prompt,response_a,response_b\n1,["p"],["a"],["b"],\n2,["p"],["a"],["b"],\n'
    )
    battles = read_battles(tmp_path / "test.csv", damage="repair")
    assert battles.id.tolist() == ["1", "2"]
    assert battles.prompt.tolist() == [("p",), ("p",)]


@pytest.mark.parametrize("column", ["id", "prompt", "response_b", "winner_tie"])
@pytest.mark.parametrize("read", [read_battles, lambda path: list(stream_battles(path))])
def test_a_repeated_column_is_refused_in_every_file(tmp_path: Path, column: str, read):
    rows = [[*row, row[training_rows()[0].index(column)]] for row in training_rows()]
    write_rows(tmp_path / "a.csv", rows)
    names, *cells = rows
    parquet.write_table(
        pa.Table.from_arrays([pa.array(values) for values in zip(*cells, strict=True)], names=names),
        tmp_path / "a.parquet",
    )
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(UserError, match=f"{name}: 1 complaint\n  - column '{column}' occurs more than once"):
            read(tmp_path / name)


def test_a_repeated_header_is_no_battle(tmp_path: Path):
    header, *rows = training_rows(4)
    write_rows(tmp_path / "a.csv", [header, *rows[:2], header, *rows[2:]])
    battles = read_battles(tmp_path / "a.csv", damage="repair")
    assert battles.id.tolist() == ["1", "2", "3", "4"]
    assert battles.repairs == ("row 3: repeats the header, expected a battle",)
    with pytest.raises(UserError, match="row 3: repeats the header"):
        read_battles(tmp_path / "a.csv")


def table_of(ids: pa.Array) -> pa.Table:
    return pa.table({"id": ids, **{name: ['["x"]'] * len(ids) for name in TEXTS}})


@pytest.mark.parametrize(("kind", "largest"), [(pa.float64(), 2**53), (pa.float32(), 2**24), (pa.float16(), 2**11)])
def test_ids_that_are_stored_inexactly_are_refused(tmp_path: Path, kind: pa.DataType, largest: int):
    for number in (largest, largest - 1):
        values = np.array([5, number], dtype=kind.to_pandas_dtype())
        parquet.write_table(table_of(pa.array(values)), tmp_path / f"{number}.parquet")
    with pytest.raises(UserError, match=f"1 cells of id such as {largest} are stored as"):
        read_battles(tmp_path / f"{largest}.parquet")
    assert read_battles(tmp_path / f"{largest - 1}.parquet").id.tolist() == ["5", str(largest - 1)]


@pytest.mark.parametrize("number", ["30192", "30192.0", "30192.00"])
def test_an_id_has_no_decimals_however_it_is_stored(tmp_path: Path, number: str):
    write_rows(tmp_path / "a.csv", [["id", *TEXTS], [number, '["x"]', '["x"]', '["x"]']])
    parquet.write_table(table_of(pa.array([Decimal(number)])), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert read_battles(tmp_path / name).id.tolist() == ["30192"]


@pytest.mark.parametrize("one", ["1", "1.0", "1.00", "true", "True", " 1 "])
@pytest.mark.parametrize("zero", ["0", "0.0", "0.00", "false"])
def test_any_spelling_of_1_and_0_names_the_winner(tmp_path: Path, one: str, zero: str):
    header = training_rows()[0]
    assert header[-3:] == [*WINNERS]
    rows = [[*row[:-3], *({"1": one, "0": zero}.get(c, c) for c in row[-3:])] for row in training_rows()[1:]]
    write_rows(tmp_path / "a.csv", [header, *rows])
    assert read_battles(tmp_path / "a.csv").labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["nan", "NaN", "None", "NULL", "N/A", "<NA>"])
def test_the_name_of_a_missing_value_is_no_model(tmp_path: Path, name: str, log_lines):
    header, *rows = training_rows()
    rows[1][header.index("model_b")] = name
    write_rows(tmp_path / "a.csv", [header, *rows])
    battles = read_battles(tmp_path / "a.csv")
    assert battles.model_b is not None
    assert battles.model_b.tolist() == ["k", "", "k"]
    assert [line for line in log_lines if f"1 model names are {name} and count as unknown" in line]


@pytest.mark.parametrize("damage", ["raise", "repair"])
def test_chat_messages_are_another_format_and_no_damage(tmp_path: Path, damage: Any):
    message = [{"role": "user", "content": "hello"}]
    columns = {"id": ["1"], **{name: [message] for name in TEXTS}}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    write_rows(tmp_path / "a.csv", [["id", *TEXTS], ["1", *([json.dumps(message)] * 3)]])
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(UserError, match=f"{name}: the cells of 'prompt' are lists of chat messages"):
            read_battles(tmp_path / name, damage)


def test_an_unreadable_file_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for file in (write_rows(tmp_path / "a.csv", training_rows()), tmp_path / "a.parquet"):
        file.touch()
        monkeypatch.setattr(Path, "open", denied)
        with pytest.raises(UserError, match="Permission denied") as caught:
            read_battles(file)
        assert "damage" not in str(caught.value)


@pytest.mark.parametrize("column", ["id", "model_a", "winner_tie"])
def test_a_list_in_place_of_a_text_or_a_number_is_refused(tmp_path: Path, column: str):
    names, *rows = training_rows()
    columns: dict[str, Any] = {
        name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    columns[column] = [[cell] for cell in columns[column]]
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=f"a.parquet: {column} is \\['"):
        read_battles(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "is_inexact"),
    [
        ("9007199254740992.0", True),
        ("1.0e+18", True),
        ("1e+18", True),
        ("-9007199254740993.", True),
        ("9007199254740993", False),  # all of its digits are there
        ("30192.0", False),
        ("1e5", False),  # a hash may look like this
        ("123e45", False),
    ],
)
def test_an_id_that_floating_point_has_changed_is_told(tmp_path: Path, name: str, is_inexact: bool):
    (file := tmp_path / "test.csv").write_text(
        f'id,prompt,response_a,response_b\n{name},"[""p""]","[""a""]","[""b""]"\n'
    )
    repairs = read_battles(file, damage="repair").repairs
    assert [INEXACT in line for line in repairs] == [True] * is_inexact
    (predictions := tmp_path / "p.csv").write_text(f"{','.join(PREDICTION_COLUMNS)}\n{name},0.2,0.3,0.5\n")
    if is_inexact:
        with pytest.raises(UserError, match="exact only up to"):
            read_predictions(predictions)
    else:
        assert len(read_predictions(predictions)) == 1


def test_the_complaints_about_a_file_take_bounded_memory(tmp_path: Path):
    (file := tmp_path / "train.csv").write_text("id,prompt,response_a,response_b\n" + "x\n" * 50_000)
    with pytest.raises(UserError, match="complaints") as caught:
        read_battles(file)
    told = int(re.search(r"([\d,]+) complaints", str(caught.value))[1].replace(",", ""))
    battles = read_battles(file, damage="repair")
    assert len(battles.repairs) == MOST_COMPLAINTS + 1
    assert battles.repairs[-1] == f"{told - MOST_COMPLAINTS:,} more repairs"
    assert told > 150_000


def test_very_many_headers_are_left_out_in_linear_time(tmp_path: Path):
    header = "id,prompt,response_a,response_b\n"
    (file := tmp_path / "test.csv").write_text(header * 100_000 + '1,"[""p""]","[""a""]","[""b""]"\n')
    assert read_battles(file, damage="repair").id.tolist() == ["1"]


def test_a_text_of_which_only_the_ends_are_used_is_told(tmp_path: Path, log_lines):
    write_battles(replace(tiny_battles(1), prompt=object_array([("x" * (LONGEST + 1),)])), tmp_path / "train.csv")
    read_battles(tmp_path / "train.csv")
    assert any("1 texts of over a million characters" in line for line in log_lines)
