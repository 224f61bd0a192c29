"""Chatbot Arena's votes become battles with the judge, the language and the time."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.formats.chatbot_arena import ChatbotArena
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import read_battles
from pairrank.data.tables import Table, json_line, read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "chatbot_arena.jsonl"
ROW = {
    "question_id": "1",
    "model_a": "a",
    "model_b": "b",
    "winner": "tie",
    "conversation_a": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    "conversation_b": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hey"}],
    "tstamp": 1.5,
}


def first_table(path: Path) -> Table:
    return next(read_tables(path, 100, all_columns()))


def written(path: Path, **cells: object) -> Path:
    path.write_text(json_line(ROW) + json_line(ROW | {"question_id": "2"} | cells), encoding="utf-8")
    return path


def test_the_fixture_is_read_as_by_hand():
    battles = read_battles(FIXTURE)
    assert recognise(first_table(FIXTURE)) is ChatbotArena
    assert battles.id.tolist() == ["q01", "q02", "q03", "q04", "q05", "q06", "q07", "q08"]
    assert battles.prompt.tolist() == [
        ("Name a fruit.",),
        ("Nenne eine Farbe.",),
        ("2+2?", "And 3+3?"),
        ("Write a haiku.",),
        ('["json?"]',),
        ("Look at this.",),
        ("Go on.", "Go on!"),
        ("Be brief.\n\nHi",),
    ]
    assert battles.response_a.tolist() == [
        ("Apple.",),
        ("Blue.",),
        ("4", "6"),
        ("No.",),
        ("{}",),
        ("A cat.",),
        ("One", ""),
        ("Hello",),
    ]
    assert battles.response_b.tolist() == [
        ("Fruit is nice.",),
        ("Blau.",),
        ("Four", "Six"),
        ("",),
        ("[]",),
        ("[image]\nA dog.",),
        ("Uno", ""),
        ("Hey",),
    ]
    assert battles.winner is not None
    assert battles.winner.tolist() == [0, 1, 2, 2, 0, 1, 2, 0]
    assert battles.both_bad is not None
    assert battles.both_bad.tolist() == [False, False, False, True, False, False, False, False]
    details = {name: getattr(battles, name).tolist() for name in ("model_a", "model_b", "judge", "category")}
    assert details["model_a"] == ["koala", "vicuna", "koala", "dolly", "dolly", "a", "a", ""]
    assert details["model_b"] == ["vicuna", "koala", "dolly", "koala", "koala", "b", "b", ""]
    users = ["1", "2", "1", "3", "3", None, "4", "4"]
    assert details["judge"] == [f"arena_user_{user}" if user else "5f3a" for user in users]
    assert details["category"] == ["", "", "", "", "if,complexity,code", "", "", "chat,code"]
    assert battles.language.tolist() == ["English", "German", *["English"] * 6]
    assert battles.time.tolist() == ["1682351591.5", "1682351592", *["1682351591.5"] * 6]
    assert battles.group is None


def test_rows_without_a_battle_are_counted_by_reason():
    parsed = ChatbotArena().parse(first_table(FIXTURE))
    assert parsed.complaints == []
    assert parsed.dropped + parsed.undecided == Counter(
        {
            "winner is missing": 2,
            "winner is not a known word": 1,
            "conversation_a is missing": 1,
            "conversation_b is missing": 1,
            "the user's turns of both conversations differ": 1,
        }
    )


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"winner": 1}, "winner is 1, expected text"),
        ({"conversation_a": 3}, "conversation_a is 3, expected a list of messages"),
        ({"conversation_b": "Hello"}, "conversation_b is 'Hello', expected a list of messages"),
        ({"conversation_b": [3]}, "conversation_b contains 3, expected messages"),
        ({"model_a": ["m"]}, "model_a is ['m'], expected a text or a number"),
        ({"question_id": {"a": 1}}, "question_id is {'a': 1}, expected a text or a number"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, cells: dict[str, object], complaint: str):
    with pytest.raises(UserError) as caught:
        read_battles(written(tmp_path / "x.jsonl", **cells))
    assert f"row 2: {complaint}" in str(caught.value)


def test_nested_cells_of_csv_are_json(tmp_path: Path):
    rows = [
        "question_id,model_a,model_b,winner,conversation_a,conversation_b,tstamp,category_tag,is_code",
        '1,a,b,model_b,"[{""role"":""user"",""content"":""Hi""}]","[{""role"":""user"",""content"":""Hi""}]",'
        '3,"{""x"":{""math"":true,""score"":1}}",True',
        '2,a,b,tie,[],"[{""role"":""user"",""content"":""Hi""}]",3,{broken,0',
        '3,a,b,tie,"[{""role"":""user"",""content"":""Hi""}]","[{""role"":""user"",""content"":""Hi""}]",3,{broken,0',
    ]
    (tmp_path / "x.csv").write_text("\n".join(rows), encoding="utf-8")
    battles = read_battles(tmp_path / "x.csv")
    assert battles.id.tolist() == ["1", "3"]
    assert battles.category.tolist() == ["math,code", "{broken"]


def test_files_with_numbers_for_conversations_are_of_another_schema():
    table = Table([*ROW], {name: [3] if "conv" in name else [value] for name, value in ROW.items()}, 1, [])
    assert recognise(table) is not ChatbotArena


def test_columns_that_are_left_out_are_named(tmp_path: Path, battles: Battles):
    given = replace(battles, group=battles.id, weight=np.ones(5))
    assert write_battles(given, tmp_path / "x.jsonl", "chatbot_arena") == ["soft", "weight", "group"]
    back = read_battles(tmp_path / "x.jsonl")
    empty = object_array([""] * 5)
    expected = replace(battles, soft=None, judge=empty, language=empty, category=empty, time=empty)
    assert back.content_hash() == replace(expected, both_bad=np.zeros(5, dtype=bool)).content_hash()


def test_battles_without_winners_are_refused(tmp_path: Path, battles: Battles):
    with pytest.raises(UserError, match="chatbot_arena: these battles have no winners"):
        write_battles(replace(battles, winner=None), tmp_path / "x.jsonl", "chatbot_arena")
