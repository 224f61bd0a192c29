"""Files of chosen and rejected answers, with or without a prompt, are read as battles whose sides are drawn."""

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

FIXTURE = Path(__file__).parent / "fixtures" / "trl_preference.jsonl"

EXPECTED = {
    "texts": (("Name a fruit that is red.",), ("A cherry.",), ("A lemon.",), 0.5),
    "messages": (("How many legs has a beetle?",), ("Six.",), ("Eight.",), 1.0),
    "whole": (("Spell owl backwards.",), ("lwo",), ("olw",), 0.25),
    "mixed": (("Be brief.\n\nWhat floats?",), ("Cork.",), ("[Stone]",), 0.25),
    "implicit": (("Hello", "Sing"), ("Hi!", "La la"), ("Hi!", "No"), 0.0),
    "repeated": (("Which day follows Monday?",), ("Tuesday",), ("Sunday",), 0.0),
    "negative": (("Is ice cold?",), ("Yes, it is.",), ("Cold?",), 0.0),
    "answer alone": (("Count to two.",), ("1, 2",), ("2, 3",), 0.0),
    "json": (("Give me a list.",), ("[1, 2]",), ("",), 0.0),
}
"""Prompt, chosen and rejected answer and strength of each battle of the fixture, by id."""


def schema_name(path: Path) -> str:
    found = recognise(next(read_tables(path, SAMPLE, all_columns())))
    return found.name if found else ""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outcomes(battles: Battles) -> dict[str, tuple[Any, ...]]:
    """Prompt, chosen and rejected answer and the chosen one's strength by id, whatever the sides."""
    found = {}
    for i in range(len(battles)):
        answers, winner = (battles.response_a[i], battles.response_b[i]), battles.winner[i]
        strength = battles.strength[i] * (1 - 2 * winner)
        found[battles.id[i]] = (battles.prompt[i], answers[winner], answers[1 - winner], strength)
    return found


def drawn(n: int = 1000) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "prompt": f"Question {i}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(n)
    ]


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert schema_name(FIXTURE) == "trl_preference"
    battles = read_battles(FIXTURE, damage="repair")
    assert outcomes(battles) == EXPECTED
    assert set(battles.winner) == {Winner.A, Winner.B}
    assert "dropped 7: " in caplog.text
    for reason in ("chosen is missing (2)", "rejected is missing (1)", "prompt is missing (2)"):
        assert reason in caplog.text
    for reason in ("chosen and rejected are equal (1)", "the user's turns differ (1)"):
        assert reason in caplog.text
    assert battles.repairs == (
        "row 17: chosen is 3, expected text or messages; left out",
        "row 18: rejected is 'That one', expected messages as in the other answer; left out",
        "row 19: margin is 'big', expected a number; left out",
        "row 20: chosen has the role 'ghost', expected user, assistant or system; left out",
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("Q: Why?\nA: It is so.", "Q: Why?\nA: It is not.", ("Q: Why?", "A: It is so.", "A: It is not.")),
        ("The sky is blue.", "The sky is black.", ("The sky is", "blue.", "black.")),
        ("Say cat\ncat", "Say cat\ncat cat", ("Say cat", "cat", "cat cat")),
        ("Count:\n\none", "Count:\n\n two", ("Count:", "one", "two")),
        ("Stop here ", "Stop here now", ("Stop here", "", "now")),
    ],
)
def test_the_prompt_of_two_texts_is_their_beginning_cut_at_a_line_end_or_else_at_a_space(
    tmp_path: Path, chosen: str, rejected: str, expected: tuple[str, str, str]
):
    path = write_lines(tmp_path / "implicit.jsonl", [{"id": "x", "chosen": chosen, "rejected": rejected}])
    assert outcomes(read_battles(path))["x"] == (*((text,) for text in expected), 0.0)


def test_texts_that_begin_differently_have_no_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rows = [{"chosen": "Yes", "rejected": "No"}, {"chosen": "  Yes", "rejected": "  No"}]
    write_lines(tmp_path / "bare.jsonl", [*rows, {"chosen": "Be it so", "rejected": "Be it not"}])
    assert len(read_battles(tmp_path / "bare.jsonl")) == 1
    assert "prompt is missing (2)" in caplog.text


@pytest.mark.parametrize(
    ("prompt", "is_read"),
    [
        ("What is up?", True),
        ("  what is UP", True),
        ("Be brief. What is up?", True),
        ("Be brief.", True),
        (" ", True),
        ("What is down?", False),
        ("Up.", False),
        ("Speak English. What is up?", False),
    ],
)
def test_a_text_prompt_beside_whole_conversations_repeats_their_beginning(
    tmp_path: Path, prompt: str, is_read: bool
):
    start = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is up?"}]
    row = {"id": "1", "prompt": prompt} | {
        name: [*start, {"role": "assistant", "content": text}]
        for name, text in (("chosen", "Up."), ("rejected", "?"))
    }
    battles = read_battles(write_lines(tmp_path / "x.jsonl", [row]), damage="repair")
    if is_read:
        assert battles.prompt.tolist() == [("Be brief.\n\nWhat is up?",)]
    else:
        [complaint] = battles.repairs
        assert f"row 1: prompt is {prompt!r}, expected what both answers" in complaint


def test_margins_on_another_scale_are_not_strengths(tmp_path: Path):
    rows = [row | {"margin": margin} for row, margin in zip(drawn(3), (0.5, 3.0, 1.0), strict=True)]
    assert read_battles(write_lines(tmp_path / "wide.jsonl", rows)).strength.tolist() == [0.0, 0.0, 0.0]
    scores = [
        row | {"score_chosen": 8.5, "score_rejected": score} for row, score in zip(drawn(2), (8, 2), strict=True)
    ]
    assert read_battles(write_lines(tmp_path / "scores.jsonl", scores)).strength.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"winner": np.array([0, 2])}, "1 of the battles are ties"),
        ({"winner": None}, "no winners"),
        ({"response_b": object_array([("yes",), ("b",)])}, "equal answers"),
        ({"strength": np.array([0.5, 0.5])}, "contradicts their winner"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, change: dict[str, Any], named: str):
    texts = {
        "prompt": object_array([("p",), ("q",)]),
        "response_a": object_array([("yes",), ("a",)]),
        "response_b": object_array([("no",), ("b",)]),
    }
    battles = Battles(id=object_array(["1", "2"]), **(texts | {"winner": np.array([0, 1])} | change))
    with pytest.raises(UserError, match=named):
        write_battles(battles, tmp_path / "no.jsonl", "trl_preference")


def test_transcripts_have_another_schema_even_beside_a_prompt(tmp_path: Path):
    rows = [
        {"prompt": i, "chosen": f"\n\nHuman: {i}\n\nAssistant: a", "rejected": f"\n\nHuman: {i}\n\nAssistant: b"}
        for i in "123"
    ]
    assert schema_name(write_lines(tmp_path / "transcripts.jsonl", rows)) == "hh_rlhf"
    rows[0] |= {"chosen": "a", "rejected": "b"}
    assert schema_name(write_lines(tmp_path / "mostly.jsonl", rows)) == "hh_rlhf"
    rows[1] |= {"chosen": "a", "rejected": "b"}
    assert schema_name(write_lines(tmp_path / "hardly.jsonl", rows)) == "trl_preference"
