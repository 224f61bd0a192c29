"""LMArena's votes of 2025 become battles in groups, which are its sessions."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.formats.arena_140k import Arena140k
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import read_battles
from pairrank.data.tables import Table, json_line, read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "arena_140k.jsonl"


def first_table(path: Path) -> Table:
    return next(read_tables(path, 100, all_columns()))


def test_the_fixture_is_read_as_by_hand():
    battles = read_battles(FIXTURE)
    assert recognise(first_table(FIXTURE)) is Arena140k
    assert battles.id.tolist() == ["v01", "v02", "v03", "v04", "v05", "v06", "v07"]
    assert battles.prompt.tolist() == [
        ("Plan a trip.",),
        ("Plan a trip.", "Cheaper?"),
        ("1+1?",),
        ("Prove it.",),
        ("What is it?\n[image]",),
        ("Explain {}.",),
        ("Sum?",),
    ]
    assert battles.response_a.tolist() == [
        ("To Rome.",),
        ("To Rome.", "Bus."),
        ("2",),
        ("?",),
        ("A bridge.",),
        ("Braces.",),
        ("1",),
    ]
    assert battles.response_b.tolist() == [
        ("No.",),
        ("To Rome.", "Walk."),
        ("two",),
        ("??",),
        ("",),
        ("A set.",),
        ("2",),
    ]
    assert battles.winner is not None
    assert battles.winner.tolist() == [0, 1, 2, 2, 0, 1, 2]
    assert battles.both_bad is not None
    assert battles.both_bad.tolist() == [False, False, False, True, False, False, False]
    assert battles.model_a.tolist() == ["m1", "m3", "m2", "m2", "m2", "m5", "m5"]
    assert battles.model_b.tolist() == ["m2", "m4", "m1", "m1", "m1", "m1", "m1"]
    assert battles.group.tolist() == ["s1", "s1", "s2", "s3", "s4", "", "s6"]
    assert battles.category.tolist() == [
        "creative_writing,real_world",
        "",
        "math,code",
        "code",
        "vision",
        "",
        "complexity,real_world,code",
    ]
    assert battles.language.tolist() == ["en", "en", "en", "fr", "en", "", "en"]
    assert battles.time.tolist() == [*["2025-06-01 10:00:00"] * 5, "", "2025-06-01 10:00:00"]
    assert battles.judge is None


def test_rows_without_a_battle_are_counted_by_reason():
    parsed = Arena140k().parse(first_table(FIXTURE))
    assert parsed.complaints == []
    assert parsed.dropped + parsed.undecided == Counter(
        {
            "winner is missing": 1,
            "winner is not a known word": 1,
            "conversation_a is missing": 1,
            "conversation_b is missing": 1,
            "the user's turns of both conversations differ": 1,
        }
    )


def test_expert_votes_have_no_session_and_occupations_for_categories(tmp_path: Path):
    conversation = json.dumps([{"role": "user", "content": [{"type": "text", "text": "Dose?"}]}])
    row = {
        "id": "e1",
        "model_a": "m1",
        "model_b": "m2",
        "winner": "both_bad",
        "conversation_a": conversation,
        "conversation_b": conversation,
        "evaluation_order": 1,
        "full_conversation": "[]",
        "language": "en",
        "occupational_tags": {"education": False, "medicine_and_healthcare": True, "mathematical": True},
    }
    path = tmp_path / "x.jsonl"
    path.write_text(json_line(row) + json_line(row | {"id": "e2", "occupational_tags": None}), encoding="utf-8")
    battles = read_battles(path)
    assert recognise(first_table(path)) is Arena140k
    assert battles.group.tolist() == ["", ""]
    assert battles.category.tolist() == ["medicine_and_healthcare,mathematical", ""]
    assert battles.both_bad.tolist() == [True, True]
    assert battles.prompt.tolist() == [("Dose?",), ("Dose?",)]


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"winner": ["tie"]}, "winner is ['tie'], expected text"),
        ({"conversation_a": {"role": "user"}}, "conversation_a is {'role': 'user'}, expected a list of messages"),
        ({"id": [1]}, "id is [1], expected a text or a number"),
        ({"is_code": ["math"]}, "is_code is ['math'], expected a text or a number"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, cells: dict[str, object], complaint: str):
    lines = FIXTURE.read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "x.jsonl"
    path.write_text(lines[0] + json_line(json.loads(lines[2]) | cells), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_battles(path)
    assert f"row 2: {complaint}" in str(caught.value)


def test_columns_that_are_left_out_are_named(tmp_path: Path, battles: Battles):
    given = replace(battles, judge=battles.id, strength=np.array([1.0, -0.5, 0.0, 0.0, 0.5]))
    assert write_battles(given, tmp_path / "x.jsonl", "arena_140k") == ["soft", "judge", "strength"]
    back = read_battles(tmp_path / "x.jsonl")
    empty = object_array([""] * 5)
    expected = replace(battles, soft=None, group=empty, language=empty, category=empty, time=empty)
    assert back.content_hash() == replace(expected, both_bad=np.zeros(5, dtype=bool)).content_hash()


def test_messages_are_written_in_parts(tmp_path: Path, battles: Battles):
    write_battles(battles, tmp_path / "x.jsonl", "arena_140k")
    row = json.loads((tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()[0])
    part = {"type": "text", "image": None, "mimeType": None}
    assert row["conversation_b"] == [
        {"role": "user", "content": [part | {"text": "Hi"}]},
        {"role": "assistant", "content": [part | {"text": "Hey"}]},
    ]


def test_battles_without_winners_are_refused(tmp_path: Path, battles: Battles):
    with pytest.raises(UserError, match="arena_140k: these battles have no winners"):
        write_battles(replace(battles, winner=None), tmp_path / "x.jsonl", "arena_140k")
