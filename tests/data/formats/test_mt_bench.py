"""MT-bench's judgments become battles of one turn or two, in a group per question."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.formats.mt_bench import MtBench
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.tables import Table, json_line, read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "mt_bench.jsonl"
IDS = [
    "81-gpt-4-alpaca-13b-judge-1",
    "81-gpt-4-alpaca-13b-judge-2",
    "81-gpt-4-alpaca-13b-expert_2-1",
    "81-alpaca-13b-gpt-4-expert_3-1",
    "81-alpaca-13b-gpt-4-expert_3-1-again-2",
    "82-gpt-4-alpaca-13b-gpt-4-pair-v2-2",
    "82-gpt-4-alpaca-13b-gpt4_pair",
    "82-gpt-4-alpaca-13b-expert_2-7",
]


def first_table(path: Path) -> Table:
    return next(read_tables(path, 100, all_columns()))


def test_the_fixture_is_read_as_by_hand():
    battles = read_battles(FIXTURE)
    assert recognise(first_table(FIXTURE)) is MtBench
    assert battles.id.tolist() == IDS
    bird, box = ("Name a bird.", "Another?"), ("Draw a box.", "Bigger?")
    assert battles.prompt.tolist() == [bird[:1], bird, bird[:1], bird[:1], bird[:1], box, box, box]
    owl, birds, drawn, no = ("Owl.", "Crow."), ("Bird.", "Birds."), ("[]", "[  ]"), ("No.", "No.")
    assert battles.response_a.tolist() == [
        owl[:1],
        owl,
        owl[:1],
        birds[:1],
        birds[:1],
        drawn,
        drawn,
        drawn,
    ]
    assert battles.response_b.tolist() == [birds[:1], birds, birds[:1], owl[:1], owl[:1], no, no, no]
    assert battles.winner is not None
    assert battles.winner.tolist() == [0, 0, 2, 1, 0, 2, 2, 1]
    gpt, alpaca = "gpt-4", "alpaca-13b"
    assert battles.model_a.tolist() == [gpt, gpt, gpt, alpaca, alpaca, gpt, gpt, gpt]
    assert battles.model_b.tolist() == [alpaca, alpaca, alpaca, gpt, gpt, alpaca, alpaca, alpaca]
    assert battles.group.tolist() == ["81"] * 5 + ["82"] * 3
    assert battles.judge.tolist() == [
        "judge",
        "judge",
        "expert_2",
        "expert_3",
        "expert_3",
        "gpt-4-pair-v2",
        "gpt4_pair",
        "expert_2",
    ]
    assert battles.language is None
    assert battles.time is None


def test_ids_do_not_depend_on_the_parts_in_which_a_file_is_read():
    parts = stream_battles(FIXTURE, rows=2, damage="drop")
    assert [name for part in parts for name in part.id.tolist()] == IDS


def test_rows_without_a_battle_are_counted_by_reason():
    parsed = MtBench().parse(first_table(FIXTURE))
    assert parsed.complaints == []
    assert parsed.dropped + parsed.undecided == Counter(
        {
            "winner is missing": 1,
            "winner is not a known word": 1,
            "conversation_a is missing": 1,
            "the user's turns of both conversations differ": 1,
        }
    )


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"turn": 0}, "turn is 0, expected a number from 1"),
        ({"turn": "first"}, "turn is 'first', expected a number from 1"),
        ({"turn": [1]}, "turn is [1], expected a text or a number"),
        ({"model_b": {"name": "x"}}, "model_b is {'name': 'x'}, expected a text or a number"),
        ({"conversation_a": "Hello"}, "conversation_a is 'Hello', expected a list of messages"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, cells: dict[str, object], complaint: str):
    conversation = [{"role": "user", "content": "Hi"}]
    row = {"question_id": 1, "model_a": "a", "model_b": "b", "winner": "tie", "judge": "j"}
    row |= {"conversation_a": conversation, "conversation_b": conversation}
    path = tmp_path / "x.jsonl"
    path.write_text(json_line(row) + json_line(row | {"question_id": 2} | cells), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_battles(path)
    assert f"row 2: {complaint}" in str(caught.value)


@pytest.mark.parametrize("name", ["tstamp", "language"])
def test_rows_with_a_time_or_a_language_are_of_another_schema(name: str):
    columns = [*MtBench.required, "turn"]
    cells = {each: [] for each in columns}
    assert recognise(Table(columns, cells, 1, [])) is MtBench
    assert recognise(Table([*columns, name], cells, 1, [])) is not MtBench


def test_battles_without_groups_and_judges_are_questions_of_their_own(tmp_path: Path, battles: Battles):
    given = replace(battles, both_bad=np.array([False, False, False, True, False]))
    assert write_battles(given, tmp_path / "x.jsonl", "mt_bench") == ["soft", "both_bad"]
    words = next(read_tables(tmp_path / "x.jsonl", 5, ["winner", "turn"])).cells
    assert words == {"winner": ["model_a", "model_a", "model_b", "tie", "model_b"], "turn": [1, 2, 1, 1, 1]}
    expected = replace(battles, soft=None, group=battles.id, judge=object_array([""] * 5))
    assert read_battles(tmp_path / "x.jsonl").content_hash() == expected.content_hash()


def test_battles_without_winners_are_refused(tmp_path: Path, battles: Battles):
    with pytest.raises(UserError, match="mt_bench: these battles have no winners"):
        write_battles(replace(battles, winner=None), tmp_path / "x.jsonl", "mt_bench")
