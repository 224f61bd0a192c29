"""WebGPT comparisons: the sign of a score is the winner, and its size the strength."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Winner, object_array
from pairrank.data.formats.base import DamagedRowError
from pairrank.data.formats.registry import schemas
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import conversations, plain_battles
from tests.support.plain_texts import (
    ENDINGS,
    assert_held,
    json_lines,
    read_back,
    recognised,
    write_json_lines,
)

FIXTURE = Path(__file__).parent / "fixtures" / "webgpt.jsonl"

A, B, TIE = Winner
GOLDEN = [
    ("Why is rust red?", "Iron oxide looks red [1].", "Rust is old paint.", A, 0.75, "e1", "eli5"),
    ("Why is rust red?", "Because of Mars.", "Iron and oxygen [1][2].", B, -0.25, "e1", "eli5"),
    ("Who built the mill?", "A miller.", "Some miller.", TIE, 0.0, "t7", "triviaqa"),
    ("Who built the mill?", "A miller.", "Nobody knows.", A, 1.0, "t7", "triviaqa"),
    ("How deep is the pond?", "Two metres.", "Very deep.", B, -1.0, "", ""),
    ("Is tea cold?", "Seldom.", "Always.", A, 0.125, "e5", "eli5"),
    ("Is ice wet?", "It is.", "It melts 😀.", A, 0.5, "e6", "eli5"),
    ("Who built the mill?", "A miller.", "Some miller.", A, 0.5, "t7", "triviaqa"),
]
DROPPED = {
    "score is missing": 1,
    "answer_0 is missing": 1,
    "full_text is missing": 1,
    "both scores contradict each other": 1,
    "score is not a number": 1,
}


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert recognised(FIXTURE) == "webgpt"
    battles = read_battles(FIXTURE)
    columns = (
        [turns[0] for turns in battles.prompt],
        [turns[0] for turns in battles.response_a],
        [turns[0] for turns in battles.response_b],
        battles.labels.tolist(),
        battles.strength.tolist(),
        battles.group.tolist(),
        battles.category.tolist(),
    )
    assert list(zip(*columns, strict=True)) == GOLDEN
    assert battles.soft is battles.model_a is battles.judge is None
    [report] = [line for line in caplog.messages if "schema webgpt" in line]
    assert "13 rows; dropped 5:" in report
    for reason, count in DROPPED.items():
        assert f"{reason} ({count})" in report


def test_two_judgements_of_the_same_answers_have_different_ids_in_parts_of_any_size():
    battles = read_battles(FIXTURE)
    assert battles.id[7] == f"{battles.id[2]}-2"
    assert len(set(battles.id)) == len(battles)
    for rows in (1, 2, 100):
        assert [name for part in stream_battles(FIXTURE, rows, "drop") for name in part.id] == battles.id.tolist()


@pytest.mark.parametrize(("score", "winner", "strength"), [(2, A, 1.0), (-1.5, B, -1.0), (1e-9, A, 1e-9)])
def test_a_score_is_cut_to_one(tmp_path: Path, score: float, winner: Winner, strength: float):
    row = {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": score}
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", [row]))
    assert (battles.labels.tolist(), battles.strength.tolist()) == ([winner], [strength])


def test_a_file_without_scores_has_no_winners(tmp_path: Path):
    rows = [{"question": "q", "answer_0": str(i), "answer_1": "b"} for i in range(3)]
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    assert (len(battles), battles.winner) == (3, None)


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"question": 3}, "question is 3, expected text"),
        ({"question": {"text": "q"}}, "expected a text or an object with full_text"),
        ({"question": "{'id': '1', 'full_text': 'q'}"}, "expected JSON with full_text"),
        ({"question": {"full_text": ["q"]}}, "full_text is ['q'], expected text"),
        ({"answer_1": ["b"]}, "answer_1 is ['b'], expected text"),
        ({"score_0": [1]}, "score_0 is [1], expected a number"),
        ({"score_0": True}, "score_0 is True, expected a number"),
    ],
)
def test_cells_of_a_wrong_type_are_damage(tmp_path: Path, cells: dict, what: str):
    row = {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 1} | cells
    path = write_json_lines(tmp_path / "t.jsonl", [row])
    with pytest.raises(DamagedRowError) as caught:
        list(schemas()["webgpt"]().votes(row))
    assert what in str(caught.value)
    with pytest.raises(UserError, match="row 1: "):
        read_battles(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_question_that_is_json_itself_is_read_back(tmp_path: Path, ending: str):
    battles = plain_battles(('{"full_text": "no"}', "a", "b"), ('{"full_text', "a", "b"), winner=[0, 2])
    back, lost = read_back(tmp_path, battles, "webgpt", ending)
    assert_held(battles, back, lost)
    assert back.strength.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("winner", "strength"), [(A, -0.5), (B, 0.5), (TIE, 0.5)])
def test_a_strength_that_contradicts_the_winner_is_not_written(tmp_path: Path, winner: Winner, strength: float):
    battles = replace(plain_battles(("q", "a", "b"), winner=[winner]), strength=np.array([strength]))
    with pytest.raises(UserError, match=r"schema webgpt: id b0 has the strength .*0\.5"):
        write_battles(battles, tmp_path / "t.jsonl", "webgpt")


def test_conversations_are_not_written(tmp_path: Path):
    battles = conversations((("p", "q"), ("a", "b"), ("c", "d")), winner=[0])
    with pytest.raises(UserError, match="id b0 has 2 turns, expected 1"):
        write_battles(battles, tmp_path / "t.jsonl", "webgpt")


def test_columns_without_a_place_are_named(tmp_path: Path):
    battles = replace(plain_battles(("q", "a", "b")), judge=object_array(["j"]), strength=np.array([0.5]))
    assert write_battles(battles, tmp_path / "t.jsonl", "webgpt") == ["judge", "strength"]
    assert "score_0" not in json_lines(tmp_path / "t.jsonl")[0]
