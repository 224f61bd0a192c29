"""Tables in memory give the battles of a file with the same rows."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from pairrank.data.battles import TEXTS, WINNERS, Battles, object_array
from pairrank.data.frames import from_dataframe, from_dataset, from_records, to_dataframe
from pairrank.data.reading import read_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import tiny_battles
from tests.support.command_line import run_python
from tests.support.plain_texts import json_lines
from tests.support.strategies import valid_battles

FIXTURES = Path(__file__).parent / "formats" / "fixtures"


class Dataset:
    """What a Hugging Face `Dataset` offers, as far as it is used."""

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows
        self.column_names = list(dict.fromkeys(name for row in rows for name in row))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.rows


def assert_same(one: Battles, other: Battles) -> None:
    assert len(one)
    assert one.content_hash() == other.content_hash()


# The same rows as a file and in memory


@pytest.mark.parametrize("schema", ["alpaca_eval", "auto_j", "pandalm", "webgpt"])
def test_tables_in_memory_equal_the_file_of_their_rows(schema: str):
    expected = read_battles(FIXTURES / f"{schema}.jsonl")
    rows = json_lines(FIXTURES / f"{schema}.jsonl")
    assert_same(from_dataframe(pd.DataFrame(rows)), expected)
    assert_same(from_records(iter(rows)), expected)
    assert_same(from_dataset(Dataset(rows)), expected)


def test_the_data_frame_of_a_file_of_the_competition_equals_the_file(tmp_path: Path):
    write_battles(tiny_battles(), tmp_path / "train.csv")
    expected = read_battles(tmp_path / "train.csv")
    assert_same(from_dataframe(pd.read_csv(tmp_path / "train.csv")), expected)
    assert_same(from_dataframe(pd.read_csv(tmp_path / "train.csv", index_col="id")), expected)
    assert_same(from_dataframe(pd.read_csv(tmp_path / "train.csv"), schema="kaggle"), expected)


def test_the_index_of_a_filtered_data_frame_does_not_matter(tmp_path: Path):
    write_battles(tiny_battles(), tmp_path / "train.csv")
    frame = pd.read_csv(tmp_path / "train.csv")
    expected = read_battles(tmp_path / "train.csv")
    assert_same(from_dataframe(frame[frame.winner_tie == 1]), expected.take(expected.winner == 2))


def test_a_table_of_more_rows_than_are_parsed_at_once(monkeypatch: pytest.MonkeyPatch):
    expected = to_dataframe(tiny_battles(23))
    monkeypatch.setattr("pairrank.data.frames.BLOCK", 5)
    assert_same(from_dataframe(expected), tiny_battles(23))
    assert_same(from_records(expected.to_dict("records")), tiny_battles(23))


def test_an_iterator_with_column_names_is_read_whole():
    rows = to_dataframe(tiny_battles()).to_dict("records")

    class Once(Dataset):
        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> dict[str, Any]:
            if not self.rows:
                raise StopIteration
            return self.rows.pop(0)

    assert_same(from_dataset(Once(rows)), tiny_battles())


# Cells


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT, np.float64("nan")])
def test_every_missing_value_is_a_missing_cell(missing: Any):
    rows = [
        {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 1.0},
        {"question": "q", "answer_0": missing, "answer_1": "b", "score_0": 1.0},
        {"question": "q", "answer_0": "c", "answer_1": "b", "score_0": missing},
    ]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]})
    for battles in (from_records(rows), from_dataframe(frame), from_dataset(Dataset(rows))):
        assert [turns[0] for turns in battles.response_a] == ["a"]


@pytest.mark.parametrize("turns", [["a", "b"], ("a", "b"), np.array(["a", "b"], dtype=object), '["a", "b"]'])
def test_turns_may_be_a_list_a_tuple_an_array_or_json(turns: Any):
    rows = [{"id": np.int64(5), **dict.fromkeys(TEXTS, turns)}]
    for battles in (from_records(rows), from_dataframe(pd.DataFrame(rows)), from_dataset(Dataset(rows))):
        assert battles.id.tolist() == ["5"]
        assert all(getattr(battles, name).tolist() == [("a", "b")] for name in TEXTS)


def test_a_text_is_never_read_letter_by_letter():
    plain = [{"id": "1", "prompt": "abc", "response_a": "de", "response_b": "fg"}]
    battles = from_records(plain)
    assert [getattr(battles, name)[0] for name in TEXTS] == [("abc",), ("de",), ("fg",)]
    mixed = [*plain, {"id": "2", **{name: ["turn"] for name in TEXTS}}]
    with pytest.raises(UserError, match="id 1: prompt is not JSON: 'abc'"):
        from_dataframe(pd.DataFrame(mixed))
    repaired = from_dataframe(pd.DataFrame(mixed), damage="repair")
    assert repaired.prompt.tolist() == [("abc",), ("turn",)]
    with pytest.raises(UserError, match="found 'abc', expected a dictionary for each row"):
        from_records("abc")  # type: ignore[arg-type]


def test_half_a_surrogate_pair_is_repaired_in_both_directions():
    rows = [{"id": "1", "prompt": ["\ud83d"], "response_a": ["b\ud83dc"], "response_b": ["\ud83d\ude00"]}]
    battles = from_records(rows)
    assert [getattr(battles, name)[0] for name in TEXTS] == [("\ufffd",), ("b\ufffdc",), ("😀",)]
    unsound = replace(tiny_battles(1), model_a=object_array(["m\ud83d"]))
    assert to_dataframe(unsound).model_a.tolist() == ["m\ufffd"]
    assert to_dataframe(unsound, "webgpt").question[0]["full_text"] == "A train question, number 0?"


# Errors


def test_an_unknown_table_is_one_error_that_names_the_nearest_schema():
    rows = [{"question": "q", "answer_0": "a", "extra": 1}]
    for read, table in ((from_records, rows), (from_dataframe, pd.DataFrame(rows)), (from_dataset, Dataset(rows))):
        with pytest.raises(UserError) as caught:
            read(table)
        text = str(caught.value)
        assert "1 complaint" in text
        assert "missing column 'answer_1'" in text
        assert "nearest schema is webgpt" in text
        assert "'extra'" in text


def test_all_damaged_rows_are_in_one_error():
    rows = [{"question": "q", "answer_0": i, "answer_1": "b", "score_0": 1} for i in range(3)]
    with pytest.raises(UserError, match=r"^DataFrame: 3 complaints\n  - row 1: answer_0 is 0, expected text"):
        from_dataframe(pd.DataFrame(rows))


def test_rows_that_are_no_dictionaries_are_complaints():
    rows = to_dataframe(tiny_battles(3)).to_dict("records")
    with pytest.raises(UserError, match=r"records: 6 complaints\n  - row 2: is 7, expected a dictionary"):
        from_records([rows[0], 7, rows[2]], schema="kaggle")


@pytest.mark.parametrize("rows", [[], [{}]])
def test_a_table_without_columns_is_an_error(rows: list[Any]):
    for read, table in ((from_records, rows), (from_dataframe, pd.DataFrame(rows)), (from_dataset, Dataset(rows))):
        with pytest.raises(UserError, match="Found the columns none"):
            read(table)


def test_a_table_without_rows_is_an_error():
    with pytest.raises(UserError, match="DataFrame: contains no battles"):
        from_dataframe(to_dataframe(tiny_battles(3)).iloc[:0])


def test_repeated_columns_and_ids_are_errors():
    frame = to_dataframe(tiny_battles(3))
    with pytest.raises(UserError, match="column 'prompt' occurs more than once"):
        from_dataframe(pd.concat([frame, frame[["prompt"]]], axis=1))
    with pytest.raises(UserError, match="id 1000: repeated in row 4"):
        from_dataframe(pd.concat([frame, frame]))


def test_other_objects_are_errors():
    with pytest.raises(UserError, match="expected a pandas DataFrame"):
        from_dataframe([{"id": 1}])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"found {'id': .*, expected a dictionary for each row"):
        from_records({"id": ["1"]})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="found the splits train, test, expected one split"):
        from_dataset({"train": Dataset([]), "test": Dataset([])})
    with pytest.raises(UserError, match="column_names is None, expected a list of names"):
        from_dataset([{"id": 1}])
    with pytest.raises(UserError, match="no schema is called 'kagle'"):
        from_records([{"id": 1}], schema="kagle")
    with pytest.raises(UserError, match="no schema is called 'kagle'"):
        to_dataframe(tiny_battles(1), "kagle")


# To a DataFrame and back


@settings(deadline=None)
@given(battles=valid_battles(least=1))
def test_from_dataframe_inverts_to_dataframe(battles: Battles):
    assert_same(from_dataframe(to_dataframe(battles)), replace(battles, soft=None))


def test_a_data_frame_written_as_csv_is_a_file_of_the_competition(tmp_path: Path):
    frame = to_dataframe(tiny_battles())
    assert list(frame) == ["id", "model_a", "model_b", *TEXTS, *WINNERS]
    assert json.loads(frame.prompt[0]) == ["A train question, number 0?"]
    frame.to_csv(tmp_path / "train.csv", index=False)
    assert_same(read_battles(tmp_path / "train.csv"), tiny_battles())


def test_a_data_frame_of_another_schema_is_read_back_and_lost_columns_are_told(caplog: pytest.LogCaptureFixture):
    battles = replace(tiny_battles(), judge=object_array(["Ann"] * 40))
    back = from_dataframe(to_dataframe(battles, "webgpt"))
    assert back.labels.tolist() == battles.labels.tolist()
    assert "to_dataframe: schema webgpt has no columns for model_a, model_b, judge" in caplog.text


# What is loaded when


@pytest.mark.slow
def test_pandas_is_loaded_only_for_a_data_frame(tmp_path: Path):
    write_battles(tiny_battles(), tmp_path / "train.csv")
    program = f"""
import sys
import pairrank
battles = pairrank.read_battles({str(tmp_path / "train.csv")!r})
pairrank.from_records([{{"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 1}}])
assert "pandas" not in sys.modules
frame = pairrank.to_dataframe(battles)
assert "pandas" in sys.modules
assert pairrank.from_dataframe(frame).content_hash() == battles.content_hash()
print("done")
"""
    ended = run_python("-c", program)
    assert ended.stdout == "done\n", ended.stderr
