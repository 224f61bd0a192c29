"""PandaLM's test set: every annotator's vote is a battle of its own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairrank.data.battles import Battles, Winner, object_array
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import conversations, plain_battles
from tests.support.plain_texts import (
    json_lines,
    recognised,
    write_json_lines,
)

FIXTURE = Path(__file__).parent / "fixtures" / "pandalm.jsonl"

A, B, TIE = Winner
SHORTEN = "Shorten the text.\n\nA very long text."
BLOOM_LLAMA, BLOOM_OPT, OPT_PYTHIA = ("bloom-7b", "llama-7b"), ("bloom-7b", "opt-7b"), ("opt-7b", "pythia-6.9b")
LLAMA_OPT, UNKNOWN = ("llama-7b", "opt-7b"), ("", "")
GOLDEN = [
    ("0-annotator1", SHORTEN, "Long text.", "Text.", B, *BLOOM_LLAMA, "annotator1", "Mail"),
    ("0-annotator2", SHORTEN, "Long text.", "Text.", B, *BLOOM_LLAMA, "annotator2", "Mail"),
    ("0-annotator3", SHORTEN, "Long text.", "Text.", A, *BLOOM_LLAMA, "annotator3", "Mail"),
    ("1-annotator1", SHORTEN, "Long text.", "A text.", TIE, *BLOOM_OPT, "annotator1", "Mail"),
    ("1-annotator2", SHORTEN, "Long text.", "A text.", A, *BLOOM_OPT, "annotator2", "Mail"),
    ("1-annotator3", SHORTEN, "Long text.", "A text.", TIE, *BLOOM_OPT, "annotator3", "Mail"),
    ("2-annotator1", "Think of a query.", "cats", "dogs", A, *OPT_PYTHIA, "annotator1", "Search"),
    ("2-annotator2", "Think of a query.", "cats", "dogs", A, *OPT_PYTHIA, "annotator2", "Search"),
    ("2-annotator3", "Think of a query.", "cats", "dogs", A, *OPT_PYTHIA, "annotator3", "Search"),
    ("3-annotator1", "Think of a query.", "cats", "birds", B, *OPT_PYTHIA, "annotator1", "Search"),
    ("3-annotator3", "Think of a query.", "cats", "birds", TIE, *OPT_PYTHIA, "annotator3", "Search"),
    ("4-annotator3", "Think of a word.", "oak", "elm", A, *UNKNOWN, "annotator3", "Search"),
    ("8-annotator1", "Greet them.", "Hey.", "Hi.", A, *UNKNOWN, "annotator1", "Chat"),
    ("8-annotator2", "Greet them.", "Hey.", "Hi.", B, *UNKNOWN, "annotator2", "Chat"),
    ("8-annotator3", "Greet them.", "Hey.", "Hi.", TIE, *UNKNOWN, "annotator3", "Chat"),
    ("10-annotator1", "Greet Ann.", "Hey Ann.", "Hi Ann.", B, *LLAMA_OPT, "annotator1", ""),
    ("10-annotator2", "Greet Ann.", "Hey Ann.", "Hi Ann.", A, *LLAMA_OPT, "annotator2", ""),
]
DROPPED = {
    "no annotator has voted": 1,
    "response1 is missing": 1,
    "a vote is not 0, 1 or 2": 1,
    "instruction is missing": 1,
}


def seen(battles: Battles) -> list[tuple[Any, ...]]:
    texts = ([turns[0] for turns in column] for column in (battles.prompt, battles.response_a, battles.response_b))
    names = (battles.model_a, battles.model_b, battles.judge, battles.category)
    return list(zip(battles.id, *texts, battles.labels.tolist(), *names, strict=True))


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert recognised(FIXTURE) == "pandalm"
    assert seen(read_battles(FIXTURE)) == GOLDEN
    [report] = [line for line in caplog.messages if "schema pandalm" in line]
    assert "11 rows; dropped 4:" in report
    for reason, count in DROPPED.items():
        assert f"{reason} ({count})" in report


def test_parts_of_any_size_give_the_same_battles():
    assert [row for part in stream_battles(FIXTURE, 1, "drop") if len(part) for row in seen(part)] == GOLDEN


def test_without_ids_the_votes_of_a_row_have_different_ids(tmp_path: Path):
    rows = [{"prompt": "p", "response1": "a", "response2": "b", "annotator1": 1, "annotator2": 2}]
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    names = [name.split("-") for name in battles.id]
    assert [judge for _, judge in names] == ["annotator1", "annotator2"]
    assert len({content for content, _ in names}) == 1


def test_a_file_without_annotators_has_no_winners(tmp_path: Path):
    rows = [{"idx": i, "instruction": "p", "response1": "a", "response2": "b"} for i in range(3)]
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    assert (battles.id.tolist(), battles.winner) == (["0", "1", "2"], None)


def test_responses_without_a_prompt_are_no_file_of_this_schema(tmp_path: Path):
    assert recognised(write_json_lines(tmp_path / "t.jsonl", [{"response1": "a", "response2": "b"}])) == ""


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"annotator1": [1]}, r"annotator1 is \[1\], expected a number"),
        ({"annotator1": False}, "annotator1 is False, expected a number"),
        ({"response2": 5}, "response2 is 5, expected text"),
    ],
)
def test_cells_of_a_wrong_type_are_damage(tmp_path: Path, cells: dict[str, Any], what: str):
    row = {"instruction": "p", "response1": "a", "response2": "b", "annotator1": 1} | cells
    with pytest.raises(UserError, match=f"row 1: {what}"):
        read_battles(write_json_lines(tmp_path / "t.jsonl", [row]))


def test_judges_with_other_names_and_models_with_underscores_are_lost(tmp_path: Path):
    names = {"judge": object_array(["Ann"]), "model_a": object_array(["x_y"]), "model_b": object_array(["z"])}
    battles = replace(plain_battles(("q", "a", "b"), winner=[2]), **names)
    assert write_battles(battles, tmp_path / "t.jsonl", "pandalm") == ["model_a", "model_b", "judge"]
    [row] = json_lines(tmp_path / "t.jsonl")
    assert row == {"id": "b0", "instruction": "q", "response1": "a", "response2": "b", "annotator1": 0}


def test_conversations_are_not_written(tmp_path: Path):
    battles = conversations((("p", "q"), ("a", "b"), ("c", "d")), winner=[0])
    with pytest.raises(UserError, match="schema pandalm: id b0 has 2 turns, expected 1"):
        write_battles(battles, tmp_path / "t.jsonl", "pandalm")
