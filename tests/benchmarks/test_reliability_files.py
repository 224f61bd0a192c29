"""The campaign's oracles for files notice wrong readings; planted here, because pairrank should make none."""

import io
import json
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.reliability import battle_files, malformed
from benchmarks.reliability.independent import (
    Read,
    UnreadableError,
    differences,
    mend,
    read_battle_file,
    read_cells,
    read_prediction_file,
    split_csv,
)


def train_file() -> bytes:
    rng = np.random.default_rng(0)
    return malformed.csv_bytes(malformed.simulated_table("train", 0), rng, plain=True)


def faithful(content: bytes) -> Read:
    """What a reader without faults reads in a file without faults."""
    rows = read_battle_file(content).rows
    columns = {name: [list(row.texts[name]) for row in rows] for name in malformed.TEXTS}
    columns |= {name: [row.models[name] for row in rows] for name in malformed.MODELS}
    columns["winner"] = [row.winner for row in rows]
    return Read([row.id for row in rows], columns, [])


def test_the_independent_reading_of_a_file_without_faults_is_that_of_pandas():
    reading = read_battle_file(train_file())
    frame = pd.read_csv(io.BytesIO(train_file()), dtype=str, keep_default_na=False)
    assert [row.id for row in reading.rows] == frame["id"].tolist()
    assert [row.models["model_b"] for row in reading.rows] == frame["model_b"].tolist()
    turns = [tuple(mend(turn) for turn in json.loads(cell)) for cell in frame["response_a"]]
    assert [row.texts["response_a"] for row in reading.rows] == turns
    assert [row.winner for row in reading.rows] == frame[list(malformed.WINNERS)].astype(int).to_numpy().argmax(
        1
    ).tolist()
    assert not any(row.unusual for row in reading.rows)


@pytest.mark.parametrize(
    "text", ['a,b\n1,"x ""y"" z"\n', 'a\r\n"1\n2"\r\n', "a,b\rc,d", 'a"b,c\n', '""\n', '"a"b,c\n', "\n\na\n,\n"]
)
def test_rows_of_csv_are_those_of_the_standard_library(text: str):
    import csv

    assert split_csv(text) == [row for row in csv.reader(io.StringIO(text, newline="")) if row]


def test_an_unclosed_quote_and_damaged_compression_have_no_reading():
    packed = malformed.gzip_bytes(train_file(), np.random.default_rng(0), plain=True)
    assert read_cells(packed) == read_cells(train_file())
    for content in (train_file() + b'"', packed[:-9], packed + b"x", b"PAR1PAR1"):
        with pytest.raises(UnreadableError):
            read_cells(content)


def test_a_faithful_reading_has_no_differences():
    assert differences(read_battle_file(train_file()), faithful(train_file())) == []


def wrong_text(read: Read) -> None:
    read.columns["response_a"][3] = ["another answer"]


def wrong_winner(read: Read) -> None:
    read.columns["winner"][2] = (read.columns["winner"][2] + 1) % 3


def wrong_name(read: Read) -> None:
    read.columns["model_a"][0] += "x"


def lost_row(read: Read) -> None:
    del read.ids[5]
    for column in read.columns.values():
        del column[5]


def other_id(read: Read) -> None:
    read.ids[4] = "1"


def other_order(read: Read) -> None:
    for column in (read.ids, *read.columns.values()):
        column[0], column[1] = column[1], column[0]


@pytest.mark.parametrize("plant", [wrong_text, wrong_winner, wrong_name, lost_row, other_id, other_order])
def test_a_wrong_reading_is_noticed(plant):
    read = faithful(train_file())
    plant(read)
    assert differences(read_battle_file(train_file()), read)


def test_a_silent_repair_is_noticed_and_a_reported_one_is_not():
    content = train_file().replace(b'"[""', b'"oops [""', 1)
    expected, read = read_battle_file(content), faithful(content)
    [row] = [row for row in expected.rows if row.unusual]
    assert differences(expected, read)
    read.repairs.append(f"id {row.id}: prompt is not JSON")
    assert differences(expected, read) == []


def test_a_repeated_header_must_not_be_a_battle():
    lines = train_file().splitlines(keepends=True)
    content = b"".join([*lines, lines[0]])
    read = faithful(content)
    read.repairs.append(f"row {len(read.ids)}: it repeats the header")
    assert differences(read_battle_file(content), read) == ["row 31: the repeated header is a battle"]


@pytest.mark.parametrize("cell", [2.0**53 + 2, math.nan, None, ["1"]])
def test_an_inexact_id_has_no_certain_reading(cell: object):
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: ['["a"]'] for name in malformed.TEXTS}
    target = io.BytesIO()
    parquet.write_table(pa.table({"id": [cell], **columns}), target)
    assert read_battle_file(target.getvalue()).rows[0].unusual


@pytest.mark.parametrize(
    "lines",
    [
        "id,winner_model_a,winner_model_b,winner_tie,id\n1,.2,.3,.5,2",
        "id,winner_model_a,winner_model_b,winner_tie\n1,0,2,0,3,0,5",
        "id,winner_model_a,winner_model_b,winner_tie\n1,.2,.3,.9",
        "id,winner_model_a,winner_model_b,winner_tie\n1,.2,.3,nan",
        "id,winner_model_a,winner_model_b,winner_tie\n1,.2,.3,.5\n1,.2,.3,.5",
    ],
)
def test_predictions_without_a_certain_reading_are_refused(lines: str):
    with pytest.raises(UnreadableError):
        read_prediction_file(lines.encode())


def test_a_case_depends_on_its_seed_and_number_only():
    made = [battle_files.malformed_file(3, index) for index in range(60)]
    assert made == [battle_files.malformed_file(3, index) for index in range(60)]
    assert {each.role for each in made} == set(battle_files.ROLES)
    assert {each.suffix for each in made} == set(battle_files.FORMATS)
    assert len({each.content for each in made}) > 50
