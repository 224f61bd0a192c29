"""Scores from -3 to 3 become winners and strengths; the sides are those of the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairrank.data.battles import Battles, Winner, object_array
from pairrank.data.formats.helpsteer2 import HelpSteer2
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.formats.vote import UNCLEAR
from pairrank.data.reading import SAMPLE, read_battles, stream_battles
from pairrank.data.tables import read_tables
from pairrank.data.writing import write_battles
from pairrank.errors import UserError

FIXTURE = Path(__file__).parent / "fixtures" / "helpsteer.jsonl"
A, B, TIE = Winner.A, Winner.B, Winner.TIE

EXPECTED = [
    (("What melts?",), ("Wax melts.",), ("Stone.",), A, 1.0, False, "english", "general"),
    (
        ("Print 1.", "Now 2."),
        ("print(1)", "print(1)"),
        ("print(1)", "print(2)"),
        B,
        -2 / 3,
        False,
        "python",
        "code",
    ),
    (("Is a whale a fish?",), ("It is not.",), ("No.",), TIE, 0.0, False, "english", "stem"),
    (
        ("Antworte kurz.\n\nWie spät ist es?",),
        ("Spät.",),
        ("Es ist spät am Abend.",),
        A,
        1 / 3,
        False,
        "german",
        "multilingual",
    ),
    (("Name a tree.",), ("Salmon",), ("Elm",), B, -1.0, False, "english", "general"),
    (("Name a metal.",), ("Tin",), ("Zinc",), B, -1 / 3, False, "english", "general"),
    (("Name a colour.",), ("Teal",), ("Tuesday",), A, 2 / 3, False, "english", "general"),
    (("Name a gas.",), ("Gravel",), ("Sand",), TIE, 0.0, True, "", ""),
    (("Say it twice.",), ("it it",), ("it it",), TIE, 0.0, False, "english", "general"),
]
"""Prompt, answers, winner, strength, whether both are bad, language and category of each battle of the fixture."""


def schema_name(path: Path) -> str:
    found = recognise(next(read_tables(path, SAMPLE, all_columns())))
    return found.name if found else ""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one(**columns: Any) -> Battles:
    texts = {name: object_array([(name,)]) for name in ("prompt", "response_a", "response_b")}
    return Battles(id=object_array(["1"]), **(texts | columns))


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert schema_name(FIXTURE) == "helpsteer"
    [battles] = stream_battles(FIXTURE, damage="drop")
    names = "prompt response_a response_b winner strength both_bad language category"
    columns = [getattr(battles, name).tolist() for name in names.split()]
    assert list(zip(*columns, strict=True)) == EXPECTED
    assert battles.soft is None
    assert "dropped 4: " in caplog.text
    for reason in ("overall_preference is missing (1)", "context is missing (1)", "response1 is missing (1)"):
        assert reason in caplog.text
    assert "the context ends with an answer (1)" in caplog.text
    assert battles.repairs == (
        "row 14: context is 'plain words', expected a list of messages; left out",
        "row 15: overall_preference is 4, expected a number from -3 to 3; it has no winner",
        "row 16: overall_preference is 'much', expected a number from -3 to 3; it has no winner",
        "row 17: response1 is 5, expected text; left out",
    )


def test_rows_without_a_score_are_battles_without_winners(tmp_path: Path):
    rows = [json.loads(line) for line in FIXTURE.read_text().splitlines()[:3]]
    for row in rows:
        del row["overall_preference"]
    battles = read_battles(write_lines(tmp_path / "test.jsonl", rows))
    assert battles.winner is None
    assert battles.response_b.tolist() == [("Stone.",), ("print(1)", "print(2)"), ("No.",)]


def test_helpsteer2_has_other_names_and_marks_turns(tmp_path: Path):
    texts = (
        "Where is up?",
        "Name a bird.\n<extra_id_1>Assistant\nA wren.\n<extra_id_1>User\nAnother.",
        None,
        "Odd?",
    )
    scores = (-2, 1, 3, "much")
    rows = [
        {
            "split": "train",
            "prompt": text,
            "response_1": f"one {score}",
            "response_2": "two",
            "preference_strength": score,
        }
        for text, score in zip(texts, scores, strict=True)
    ]
    path = write_lines(tmp_path / "two.jsonl", rows)
    parsed = HelpSteer2().parse(next(read_tables(path, 10, (*HelpSteer2.required, *HelpSteer2.optional))))
    assert parsed.battles.prompt.tolist() == [("Where is up?",), ("Name a bird.", "Another."), ("Odd?",)]
    assert parsed.battles.response_a.tolist() == [("one -2",), ("A wren.", "one 1"), ("one much",)]
    assert parsed.battles.response_b.tolist() == [("two",), ("A wren.", "two"), ("two",)]
    assert parsed.winner.tolist() == [A, B, UNCLEAR]
    assert parsed.battles.strength.tolist() == [2 / 3, -1 / 3, 0]
    assert parsed.dropped == {"prompt is missing": 1}
    assert parsed.complaints == [
        "row 4: preference_strength is 'much', expected a number from -3 to 3; it has no winner"
    ]


@pytest.mark.parametrize(("winner", "score"), [(A, -2), (B, 2), (TIE, 0)])
def test_a_winner_of_unknown_strength_is_written_as_better(tmp_path: Path, winner: Winner, score: int):
    write_battles(one(winner=np.array([winner])), tmp_path / "one.jsonl", "helpsteer")
    assert json.loads((tmp_path / "one.jsonl").read_text())["overall_preference"] == score


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"winner": np.array([A]), "strength": np.array([0.5])}, "strength such as 0.5"),
        ({"winner": np.array([B]), "strength": np.array([1 / 3])}, "contradicts their winner"),
        ({"winner": np.array([TIE]), "strength": np.array([1 / 3])}, "contradicts their winner"),
        (
            {
                "prompt": object_array([("p", "q")]),
                "response_a": object_array([("a", "c")]),
                "response_b": object_array([("b", "c")]),
            },
            "id 1: the answers before the last ones differ",
        ),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, columns: dict[str, Any], named: str):
    with pytest.raises(UserError, match=named):
        write_battles(one(**columns), tmp_path / "no.jsonl", "helpsteer")
