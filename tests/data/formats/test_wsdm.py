"""The WSDM Cup's files become battles of one turn; whatever the texts look like, they are plain."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import TEXTS, Battles, object_array
from pairrank.data.formats.kaggle import Kaggle
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.formats.wsdm import Wsdm
from pairrank.data.reading import read_battles
from pairrank.data.tables import Table, json_line, read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "wsdm.jsonl"


def first_table(path: Path) -> Table:
    return next(read_tables(path, 100, all_columns()))


def test_the_fixture_is_read_as_by_hand():
    battles = read_battles(FIXTURE)
    assert recognise(first_table(FIXTURE)) is Wsdm
    assert battles.id.tolist() == ["00a1", "00b2", "00c3", "00d4", "00e5", "6"]
    assert battles.prompt.tolist() == [
        ("How far is the moon?",),
        ("Wie spät ist es?",),
        ('["one","two"]',),
        ('[{"role":"user","content":"hi"}]',),
        ("Two\nlines",),
        ("A number as id",),
    ]
    assert battles.response_a.tolist() == [
        ("Far away.",),
        ("Drei Uhr.",),
        ('["a"]',),
        ("{}",),
        (" spaced ",),
        ("one",),
    ]
    assert battles.response_b.tolist() == [
        ("About 384,000 km.",),
        ("I have no clock.",),
        ("[]",),
        ("null",),
        ("",),
        ("two",),
    ]
    assert battles.winner is not None
    assert battles.winner.tolist() == [1, 0, 0, 1, 0, 1]
    assert battles.model_a.tolist() == ["m1", "m3", "m1", "m2", "", "m1"]
    assert battles.model_b.tolist() == ["m2", "m1", "m2", "m2", "", "m2"]
    assert battles.language.tolist() == ["English", "German", "English", "English", "", "English"]
    assert battles.both_bad is None


def test_rows_without_a_battle_are_counted_by_reason():
    parsed = Wsdm().parse(first_table(FIXTURE))
    assert parsed.complaints == []
    assert parsed.dropped + parsed.undecided == Counter(
        {
            "winner is missing": 2,
            "winner is not a known word": 1,
            "prompt is missing": 1,
            "response_a is missing": 1,
            "response_b is missing": 1,
        }
    )


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"prompt": ["Hi"]}, "prompt is ['Hi'], expected text"),
        ({"response_b": 5}, "response_b is 5, expected text"),
        ({"winner": True}, "winner is True, expected text"),
        ({"id": [1]}, "id is [1], expected a text or a number"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, cells: dict[str, object], complaint: str):
    row = {"id": "1", "prompt": "p", "response_a": "a", "response_b": "b", "winner": "model_a"}
    path = tmp_path / "x.jsonl"
    path.write_text(json_line(row) + json_line(row | {"id": "2"} | cells), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_battles(path)
    assert f"row 2: {complaint}" in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "winner", "schema"),
    [
        ([], "model_a", Wsdm),
        ([], "", Wsdm),
        ([], "response_1", Kaggle),
        (["winner_model_a", "winner_model_b", "winner_tie"], "model_a", Kaggle),
    ],
)
def test_the_words_of_the_winners_tell_the_schema(extra: list[str], winner: str, schema: type):
    names = ["id", *TEXTS, "winner", *extra]
    table = Table(names, {name: [winner if name == "winner" else "1"] for name in names}, 1, [])
    assert recognise(table) is schema


def test_lists_of_turns_with_a_column_winner_are_not_scored_as_text(tmp_path: Path):
    rows = [
        {"id": i, "prompt": '["hi"]', "response_a": '["a"]', "response_b": '["b"]', "winner": "x"} for i in "12"
    ]
    (path := tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert recognise(first_table(path)) is not Wsdm
    assert read_battles(path, damage="repair").prompt.tolist() == [("hi",), ("hi",)]


def test_ties_and_several_turns_are_refused(tmp_path: Path, battles: Battles):
    with pytest.raises(UserError, match="wsdm: 1 battles are ties, 1 prompts have several turns"):
        write_battles(battles, tmp_path / "x.jsonl", "wsdm")
    with pytest.raises(UserError, match="wsdm: these battles have no winners"):
        write_battles(replace(battles, winner=None), tmp_path / "x.jsonl", "wsdm")
    assert not (tmp_path / "x.jsonl").exists()


def test_columns_that_are_left_out_are_named(tmp_path: Path, battles: Battles):
    decided = battles.take(np.array([0, 2, 4]))
    bad = np.zeros(3, dtype=bool)
    assert write_battles(replace(decided, both_bad=bad), tmp_path / "x.csv", "wsdm") == ["soft", "both_bad"]
    expected = replace(decided, soft=None, language=object_array([""] * 3))
    assert read_battles(tmp_path / "x.csv").content_hash() == expected.content_hash()
