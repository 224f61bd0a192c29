"""RewardBench's pairs are battles, and RewardBench 2's lists are all pairs with weights that sum to 1."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pairrank.data.battles import Battles, Winner, object_array
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import SAMPLE, read_battles
from pairrank.data.tables import read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "reward_bench.jsonl"

EXPECTED = {
    "7": ("Add 2 and 5.", "7", "8", "owl-1", "cat-2", "sums", 1.0),
    "8": ("Name a river.", "The Elbe", "The Alps", "cat-2", "owl-1", "places", 1.0),
    "7-places": ("Name a lake.", "Lake Garda", "Mount Etna", "human", "unknown-7b", "places", 1.0),
    "15": ("Name a sea.", "The Baltic", "The Sahara", "owl-1", "cat-2", "places", 1.0),
    "16": ("Add 1 and 1.", "2", "11", "cat-2", "owl-1", "sums", 1.0),
    "17": ("Add 3 and 4.", "7", "34", "owl-1", "cat-2", "sums", 1.0),
    "9": ("Print a list.", '["a", "b"]', "a b", "", "", "code", 1.0),
}
"""Prompt, chosen, rejected, their models, category and weight of the battles of the fixture that have an id."""

TWO: list[dict[str, Any]] = [
    {
        "id": "0",
        "prompt": "A fact?",
        "chosen": ["Right"],
        "rejected": ["Wrong", "Odd", "Off"],
        "subset": "Factuality",
    },
    {
        "id": "tied:3",
        "prompt": "A month?",
        "chosen": ["May", "June"],
        "rejected": ["Monday", "Noon"],
        "subset": "Ties",
    },
    {"id": "5", "prompt": "A digit?", "chosen": ["One", None], "rejected": ["Ten"], "subset": "Math"},
    {"id": "6", "prompt": "A vowel?", "chosen": ["a", "e"], "rejected": ["e"], "subset": "Focus"},
    {"id": "7", "prompt": "Nothing?", "chosen": [], "rejected": ["e"], "subset": "Focus"},
    {"id": "8", "prompt": "The same?", "chosen": ["e"], "rejected": ["e", "e"], "subset": "Focus"},
]
COUNTS = [
    {
        "num_correct": len(row["chosen"]),
        "num_incorrect": len(row["rejected"]),
        "total_completions": len(row["chosen"]) + len(row["rejected"]),
        "models": ["owl-1", "cat-2"],
        "additional_metadata": {"category": None},
    }
    for row in TWO
]

EXPECTED_TWO = {
    "0-chosen-1-rejected-1": ("A fact?", "Right", "Wrong", "", "", "Factuality", 1 / 3),
    "0-chosen-1-rejected-2": ("A fact?", "Right", "Odd", "", "", "Factuality", 1 / 3),
    "0-chosen-1-rejected-3": ("A fact?", "Right", "Off", "", "", "Factuality", 1 / 3),
    "tied:3-chosen-1-rejected-1": ("A month?", "May", "Monday", "", "", "Ties", 0.25),
    "tied:3-chosen-1-rejected-2": ("A month?", "May", "Noon", "", "", "Ties", 0.25),
    "tied:3-chosen-2-rejected-1": ("A month?", "June", "Monday", "", "", "Ties", 0.25),
    "tied:3-chosen-2-rejected-2": ("A month?", "June", "Noon", "", "", "Ties", 0.25),
    "5": ("A digit?", "One", "Ten", "", "", "Math", 1.0),
    "6-chosen-1-rejected-1": ("A vowel?", "a", "e", "", "", "Focus", 1.0),
}


def schema_name(path: Path) -> str:
    found = recognise(next(read_tables(path, SAMPLE, all_columns())))
    return found.name if found else ""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outcomes(battles: Battles) -> dict[str, tuple[Any, ...]]:
    """Prompt, chosen, rejected, their models, category and weight by id, whatever the sides."""
    found = {}
    for i in range(len(battles)):
        sides = (0, 1) if battles.winner[i] == Winner.A else (1, 0)
        (prompt,), answers = battles.prompt[i], (*battles.response_a[i], *battles.response_b[i])
        models = ("", "") if battles.model_a is None else (battles.model_a[i], battles.model_b[i])
        category = "" if battles.category is None else battles.category[i]
        chosen, rejected = (answers[side] for side in sides)
        named = (models[side] for side in sides)
        found[battles.id[i]] = (prompt, chosen, rejected, *named, category, battles.weights[i])
    return found


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert schema_name(FIXTURE) == "reward_bench"
    battles = read_battles(FIXTURE, damage="repair")
    found = outcomes(battles)
    hashed = battles.id[-1]
    assert len(hashed) == 16
    assert found.pop(hashed) == ("Without a number?", "Still read", "Lost", "owl-1", "cat-2", "", 1.0)
    assert found == EXPECTED
    assert set(battles.winner) == {Winner.A, Winner.B}
    assert "dropped 3: " in caplog.text
    for reason in ("chosen and rejected are equal (1)", "prompt is missing (1)", "chosen is missing (1)"):
        assert reason in caplog.text
    assert battles.repairs == (
        "row 11: rejected is 4, expected text; left out",
        "row 12: prompt is ['What', 'else?'], expected text; left out",
    )


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_lists_become_all_pairs_and_each_prompt_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
):
    rows = [row | counts for row, counts in zip(TWO, COUNTS, strict=True)]
    path = tmp_path / f"two.{kind}"
    if kind == "jsonl":
        write_lines(path, rows)
    elif kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        header = [*TWO[0], "num_correct"]
        lines = [[json.dumps(row[name]) if name != "id" else row[name] for name in header] for row in rows]
        # JSON's quotation marks around a plain text are not part of it.
        lines = [[line[0], json.loads(line[1]), *line[2:4], json.loads(line[4]), line[5]] for line in lines]
        quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in line] for line in [header, *lines]]
        path.write_text("\n".join(",".join(line) for line in quoted))
    assert schema_name(path) == "reward_bench"
    battles = read_battles(path)
    assert outcomes(battles) == EXPECTED_TWO
    for prompt in set(battles.prompt):
        assert battles.weights[[turns == prompt for turns in battles.prompt]].sum() == pytest.approx(1)
    assert "chosen is missing (1)" in caplog.text
    assert "chosen and rejected are equal (1)" in caplog.text


def test_a_list_of_other_things_than_texts_is_damaged(tmp_path: Path):
    rows = [TWO[0], TWO[0] | {"id": "9", "chosen": ["Right", 3]}]
    battles = read_battles(write_lines(tmp_path / "odd.jsonl", rows), damage="repair")
    assert battles.repairs == ("row 2: chosen contains 3, expected texts; left out",)


def test_weights_of_pairs_are_lost(tmp_path: Path):
    battles = read_battles(write_lines(tmp_path / "two.jsonl", TWO))
    assert write_battles(battles, tmp_path / "one.jsonl", "reward_bench") == ["weight"]
    back = read_battles(tmp_path / "one.jsonl")
    assert back.content_hash() == replace(battles, weight=np.ones(len(battles))).content_hash()


@pytest.mark.parametrize(
    ("turns", "winner", "named"),
    [(1, Winner.TIE, "ties"), (2, Winner.A, "several turns"), (1, None, "no winners")],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, turns: int, winner: Winner | None, named: str):
    battles = Battles(
        id=object_array(["1"]),
        prompt=object_array([("p",) * turns]),
        response_a=object_array([("yes",) * turns]),
        response_b=object_array([("no",) * turns]),
        winner=None if winner is None else np.array([winner], dtype=np.int64),
    )
    with pytest.raises(UserError, match=named):
        write_battles(battles, tmp_path / "no.jsonl", "reward_bench")
