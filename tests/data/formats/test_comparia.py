"""compar:IA's votes become battles; the name of the chosen model tells the winner."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.formats.comparia import Comparia
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import read_battles
from pairrank.data.tables import Table, json_line, read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "comparia.jsonl"


def first_table(path: Path) -> Table:
    return next(read_tables(path, 100, all_columns()))


def test_the_fixture_is_read_as_by_hand():
    battles = read_battles(FIXTURE)
    assert recognise(first_table(FIXTURE)) is Comparia
    assert battles.id.tolist() == ["1", "2", "3", "4", "5", "p6"]
    assert battles.prompt.tolist() == [
        ("Bonjour",),
        ("Une recette ?",),
        ("2+2 ?", "Sûr ?"),
        ("Ça va ?",),
        ("Qui es-tu ?",),
        ("Allô ?",),
    ]
    assert battles.response_a.tolist() == [
        ("Salut !",),
        ("Non.",),
        ("4", "Oui."),
        ("Oui.",),
        ("Gemma.",),
        ("Oui ?",),
    ]
    assert battles.response_b.tolist() == [
        ("Hello!",),
        ("Oui : crêpes.",),
        ("Quatre", "Certain."),
        ("Bien.",),
        ("Mistral.",),
        ("Bonjour.",),
    ]
    assert battles.winner is not None
    assert battles.winner.tolist() == [0, 1, 2, 2, 0, 2]
    assert battles.model_a.tolist() == ["mistral", "gemma", "gemma", "gemma", "gemma", "gemma"]
    assert battles.model_b.tolist() == ["gemma", "mistral", "mistral", "gemma", "mistral", "mistral"]
    assert battles.group.tolist() == ["s1", "s2", "s2", "p4", "s5", "s6"]
    assert battles.judge.tolist() == ["v1", "v2", "v2", "", "v1", "v1"]
    assert battles.category.tolist() == ["Arts,Daily Life", "recipes", "", "", "", "Law,Politics"]
    assert battles.language.tolist() == ["fr", "fr,en", "", "", "fr", ""]
    when = "2025-01-02 03:04:05"
    assert battles.time.tolist() == [when, when, when, "", when, when]
    assert battles.both_bad is None


def test_rows_without_a_battle_are_counted_by_reason():
    parsed = Comparia().parse(first_table(FIXTURE))
    assert parsed.complaints == []
    assert parsed.dropped + parsed.undecided == Counter(
        {
            "no model is chosen": 2,
            "the chosen model is neither of the two": 1,
            "both models have the chosen name": 1,
            "conversation_a is missing": 1,
            "the user's turns of both conversations differ": 1,
        }
    )


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ({"both_equal": "perhaps"}, "both_equal is 'perhaps', expected true or false"),
        ({"chosen_model_name": ["a"]}, "chosen_model_name is ['a'], expected a text or a number"),
        ({"model_a_name": {"fr": 1}}, "model_a_name is {'fr': 1}, expected a text or a number"),
        ({"conversation_b": 1}, "conversation_b is 1, expected a list of messages"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, cells: dict[str, object], complaint: str):
    conversation = [{"role": "user", "content": "Hi"}]
    row = {"id": 1, "model_a_name": "a", "model_b_name": "b", "chosen_model_name": None, "both_equal": True}
    row |= {"conversation_a": conversation, "conversation_b": conversation, "languages": None}
    path = tmp_path / "x.jsonl"
    path.write_text(json_line(row) + json_line(row | {"id": 2} | cells), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_battles(path)
    assert f"row 2: {complaint}" in str(caught.value)


def test_languages_are_written_as_lists(tmp_path: Path, battles: Battles):
    several = object_array(["fr", "fr,en", "", "a, b", "[x"])
    named = battles.take(slice(0, 2))
    write_battles(replace(named, language=several[:2]), tmp_path / "x.jsonl", "comparia")
    row = next(read_tables(tmp_path / "x.jsonl", 2, ["languages"]))
    assert row.cells["languages"] == [["fr"], ["fr", "en"]]
    ties = replace(battles, winner=np.full(5, 2), soft=None, language=several)
    write_battles(ties, tmp_path / "x.csv", "comparia")
    assert read_battles(tmp_path / "x.csv").language.tolist() == several.tolist()


def test_a_text_that_is_no_list_stays_a_text(tmp_path: Path):
    lines = FIXTURE.read_text(encoding="utf-8").splitlines()
    (tmp_path / "x.jsonl").write_text(json_line(json.loads(lines[0]) | {"languages": "[fr"}), encoding="utf-8")
    assert read_battles(tmp_path / "x.jsonl").language.tolist() == ["[fr"]


def test_winners_without_a_name_of_their_own_are_refused(tmp_path: Path, battles: Battles):
    with pytest.raises(UserError, match="comparia: 1 winners have no name"):
        write_battles(battles, tmp_path / "x.jsonl", "comparia")
    same = battles.take(np.array([0, 1, 4]))
    with pytest.raises(UserError, match="comparia: 3 winners have no name"):
        write_battles(replace(same, model_b=same.model_a), tmp_path / "x.jsonl", "comparia")
    with pytest.raises(UserError, match="comparia: 4 winners have no name"):
        write_battles(replace(battles, model_a=None, model_b=None), tmp_path / "x.jsonl", "comparia")
    with pytest.raises(UserError, match="comparia: these battles have no winners"):
        write_battles(replace(battles, winner=None), tmp_path / "x.jsonl", "comparia")


def test_columns_that_are_left_out_are_named(tmp_path: Path, battles: Battles):
    named = replace(battles.take(np.array([0, 1, 3, 4])), both_bad=np.array([False, False, True, False]))
    assert write_battles(named, tmp_path / "x.jsonl", "comparia") == ["soft", "both_bad"]
    empty = object_array([""] * 4)
    details = dict.fromkeys(("group", "judge", "language", "category", "time"), empty)
    expected = replace(named, soft=None, both_bad=None, **details)
    assert read_battles(tmp_path / "x.jsonl").content_hash() == expected.content_hash()
