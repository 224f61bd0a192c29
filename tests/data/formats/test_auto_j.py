"""Auto-J's pairwise test set: a label is the number of a winner."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairrank.data.battles import Winner, object_array
from pairrank.data.reading import read_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import conversations, plain_battles
from tests.support.plain_texts import (
    json_lines,
    recognised,
    write_json_lines,
)

FIXTURE = Path(__file__).parent / "fixtures" / "auto_j.jsonl"

A, B, TIE = Winner
GOLDEN = [
    ("Plan my day.", "Rise, eat, work.", "Sleep.", A, "planning"),
    ("Plan my night.", "Work.", "Sleep well.", B, "planning"),
    ("Hello!", "Hi.", "Hello.", TIE, "chitchat"),
    ("Are you well?", "Fine.", "Very well, thank you.", B, "chitchat"),
    ("Rank i, j.", "i, j", "j, i", TIE, ""),
]
DROPPED = {
    "label is missing": 1,
    "label is not 0, 1 or 2": 3,
    "prompt is missing": 1,
    "response 1 is missing": 1,
}


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert recognised(FIXTURE) == "auto_j"
    battles = read_battles(FIXTURE)
    texts = ([turns[0] for turns in column] for column in (battles.prompt, battles.response_a, battles.response_b))
    assert list(zip(*texts, battles.labels.tolist(), battles.category, strict=True)) == GOLDEN
    assert len(set(battles.id)) == len(battles)
    [report] = [line for line in caplog.messages if "schema auto_j" in line]
    assert "11 rows; dropped 6:" in report
    for reason, count in DROPPED.items():
        assert f"{reason} ({count})" in report


def test_a_file_without_labels_has_no_winners(tmp_path: Path):
    rows = [{"prompt": "p", "response 1": "a", "response 2": str(i)} for i in range(3)]
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    assert (len(battles), battles.winner) == (3, None)


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"label": {"a": 1}}, "label is {'a': 1}, expected a number"),
        ({"response 2": ["b"]}, r"response 2 is \['b'\], expected text"),
    ],
)
def test_cells_of_a_wrong_type_are_damage(tmp_path: Path, cells: dict[str, Any], what: str):
    row = {"prompt": "p", "response 1": "a", "response 2": "b", "label": 0} | cells
    with pytest.raises(UserError, match=f"row 1: {what}"):
        read_battles(write_json_lines(tmp_path / "t.jsonl", [row]))


def test_columns_without_a_place_are_named(tmp_path: Path):
    battles = replace(plain_battles(("q", "a", "b"), winner=[1]), judge=object_array(["Ann"]))
    assert write_battles(battles, tmp_path / "t.jsonl", "auto_j") == ["judge"]
    [row] = json_lines(tmp_path / "t.jsonl")
    assert row == {"id": "b0", "label": 1, "prompt": "q", "response 1": "a", "response 2": "b"}


def test_conversations_are_not_written(tmp_path: Path):
    battles = conversations((("p", "q"), ("a", "b"), ("c", "d")), winner=[0])
    with pytest.raises(UserError, match="schema auto_j: id b0 has 2 turns, expected 1"):
        write_battles(battles, tmp_path / "t.jsonl", "auto_j")
