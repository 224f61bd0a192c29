"""Pairs of transcripts are split into turns, and their sides are drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairrank.data.battles import Battles, Winner, object_array
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import SAMPLE, read_battles
from pairrank.data.tables import read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "hh_rlhf.jsonl"

EXPECTED = [
    (("Where do bees sleep?",), ("In the hive.",), ("Nowhere.",)),
    (("I like tea.", "Black."), ("Green or black?", "A fine choice."), ("Green or black?", "Drink coffee.")),
    (("Can a fish drown?",), ("It can.",), ("",)),
    (("List two birds.",), ("Two birds:\n\n- a wren\n\n- a rook",), ("Birds? Human: no.\nHuman: yes.",)),
    (("First part\n\nsecond part",), ("Both read.",), ("One read.",)),
    (("Hi", "Bye"), ("Hello", "Goodbye"), ("Who are you?", "")),
    (("", "Do you?"), ("I speak first.", "I do."), ("I speak first.", "Sorry.")),
]
"""Prompt, chosen and rejected answer of each battle of the fixture."""


def schema_name(path: Path) -> str:
    found = recognise(next(read_tables(path, SAMPLE, all_columns())))
    return found.name if found else ""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outcomes(battles: Battles) -> list[tuple[Any, ...]]:
    """Prompt, chosen and rejected answer of each battle, whatever the sides."""
    sides = zip(battles.prompt, battles.response_a, battles.response_b, battles.winner, strict=True)
    return [(prompt, *((a, b) if winner == Winner.A else (b, a))) for prompt, a, b, winner in sides]


def drawn(n: int = 1000) -> list[dict[str, Any]]:
    return [
        {
            "id": str(i),
            "chosen": f"\n\nHuman: Question {i}?\n\nAssistant: yes {i}",
            "rejected": f"\n\nHuman: Question {i}?\n\nAssistant: no {i}",
        }
        for i in range(n)
    ]


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert schema_name(FIXTURE) == "hh_rlhf"
    battles = read_battles(FIXTURE, damage="repair")
    assert outcomes(battles) == EXPECTED
    assert set(battles.winner) == {Winner.A, Winner.B}
    assert "dropped 5: " in caplog.text
    for reason in ("the human's turns differ (1)", "chosen and rejected are equal (1)", "chosen is missing (1)"):
        assert reason in caplog.text
    assert "rejected is missing (1)" in caplog.text
    assert "chosen is not a transcript (1)" in caplog.text
    assert battles.repairs == ("row 12: rejected is ['x'], expected text; left out",)


def test_a_file_without_ids_gets_the_same_ids_in_any_order(tmp_path: Path):
    rows = [{name: row[name] for name in ("chosen", "rejected")} for row in drawn(5)]
    ids = read_battles(write_lines(tmp_path / "rows.jsonl", rows)).id.tolist()
    assert len(set(ids)) == 5
    assert read_battles(write_lines(tmp_path / "back.jsonl", rows[::-1])).id.tolist() == ids[::-1]


@pytest.mark.parametrize(
    ("answer", "winner", "named"),
    [
        ("fine", Winner.TIE, "ties"),
        ("no", Winner.A, "equal answers"),
        ("fine\n\nHuman: and?", Winner.A, "id 1: a turn contains a line"),
        ("fine\n\nAssistant: and", Winner.B, "id 1: a turn contains a line"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, answer: str, winner: Winner, named: str):
    battles = Battles(
        id=object_array(["1"]),
        prompt=object_array([("p",)]),
        response_a=object_array([(answer,)]),
        response_b=object_array([("no",)]),
        winner=np.array([winner], dtype=np.int64),
    )
    with pytest.raises(UserError, match=named):
        write_battles(battles, tmp_path / "no.jsonl", "hh_rlhf")
