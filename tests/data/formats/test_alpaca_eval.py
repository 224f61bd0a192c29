"""AlpacaEval annotations: the sides are drawn, and winner, soft winner and names follow the answers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairrank.data.battles import TEXTS, Battles, concatenate, object_array
from pairrank.data.formats.vote import is_first
from pairrank.data.reading import read_battles, stream_battles
from pairrank.data.writing import write_battles
from pairrank.errors import UserError
from tests.support.battles import conversations, plain_battles
from tests.support.plain_texts import (
    ENDINGS,
    assert_held,
    read_back,
    recognised,
    single_exchanges,
    write_json_lines,
)
from tests.support.strategies import NAME

FIXTURE = Path(__file__).parent / "fixtures" / "alpaca_eval.jsonl"
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

# Prompt; answer, model and probability of the reference and of the other; of a tie; judge; category.
REFERENCE = "reference"
GOLDEN = [
    ("Name a fruit.", ("A pear.", 1.0), ("An apple, of course.", "llama-a", 0.0), 0.0, "judge-x", "helpful"),
    ("Name a fruit.", ("A pear.", 0.0), ("An apple, of course.", "llama-a", 1.0), 0.0, "judge-y", "helpful"),
    ("Name a fruit.", ("A pear.", 0.0), ("Plum", "llama-b", 0.0), 1.0, "judge-x", "helpful"),
    ("Write a line on rain.", ("Rain falls.", 0.75), ("It pours!", "llama-a", 0.25), 0.0, "weighted", "koala"),
    ("Write a line on rain.", ("Rain falls.", 0.125), ("Drip, drop.", "llama-b", 0.875), 0.0, "weighted", "koala"),
    ("Write a line on rain.", ("Rain falls.", 0.0), ("Wet.", "llama-c", 0.0), 1.0, "weighted", "koala"),
    ("Translate.\n\nGood day", ("Guten Tag", 0.0), ("Tag auch", "llama-b", 1.0), 0.0, "", ""),
    ("Translate.\n\nGood day", ("Guten Tag", 1.0), ("Tag auch", "llama-b", 0.0), 0.0, "", ""),
    ("Say the same.", ("Same.", 1.0), ("Same.", "llama-c", 0.0), 0.0, "judge-x", "helpful"),
]
DROPPED = {
    "preference is missing": 1,
    "preference is not from 1 to 2": 2,
    "output_2 is missing": 1,
}


def seen(battles: Battles) -> Iterator[tuple[Any, ...]]:
    """Rows as in GOLDEN, whatever the sides; a winner that is not the likeliest outcome is an error."""
    for i in range(len(battles)):
        sides = [
            (battles.response_a[i][0], battles.model_a[i], battles.soft[i][0]),
            (battles.response_b[i][0], battles.model_b[i], battles.soft[i][1]),
        ]
        sides.sort(key=lambda side: side[1] != REFERENCE)
        assert battles.labels[i] == battles.soft[i].argmax()
        (text, name, share), other = sides
        assert name == REFERENCE
        yield (
            battles.prompt[i][0],
            (text, share),
            other,
            battles.soft[i][2],
            battles.judge[i],
            battles.category[i],
        )


def test_the_fixture_is_read_as_a_person_reads_it(caplog: pytest.LogCaptureFixture):
    assert recognised(FIXTURE) == "alpaca_eval"
    battles = read_battles(FIXTURE)
    assert list(seen(battles)) == GOLDEN
    [report] = [line for line in caplog.messages if "schema alpaca_eval" in line]
    assert "13 rows; dropped 4:" in report
    for reason, count in DROPPED.items():
        assert f"{reason} ({count})" in report


def test_ids_tell_judges_and_models_apart_and_do_not_depend_on_parts():
    battles = read_battles(FIXTURE)
    assert len(set(battles.id)) == len(battles)
    assert battles.id[0].removesuffix("-judge-x") == battles.id[1].removesuffix("-judge-y")
    assert battles.id[7] == f"{battles.id[6]}-2"
    assert [name for part in stream_battles(FIXTURE, 1, "drop") for name in part.id] == battles.id.tolist()


def rows_of(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "instruction": f"Question {i}?",
            "output_1": f"Reference {i}.",
            "output_2": f"Answer {i}.",
            "generator_1": REFERENCE,
            "generator_2": "other",
            "preference": float(rng.choice([1, 1.1, 1.5, 1.75, 2])),
        }
        for i in range(n)
    ]


def test_the_sides_are_drawn_evenly_and_in_any_order_of_rows(tmp_path: Path):
    rows = rows_of(1000)
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    assert abs((battles.model_a == REFERENCE).mean() - 0.5) <= 0.03
    turned = read_battles(write_json_lines(tmp_path / "u.jsonl", rows[::-1]))
    assert turned.take(slice(None, None, -1)).content_hash() == battles.content_hash()


def test_exchanged_outputs_have_the_same_sides_and_exchanged_preferences_the_other_winner(tmp_path: Path):
    rows = rows_of(200)
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    exchanged = [
        row
        | {
            "output_1": row["output_2"],
            "output_2": row["output_1"],
            "generator_1": row["generator_2"],
            "generator_2": row["generator_1"],
            "preference": 3 - row["preference"],
        }
        for row in rows
    ]
    same = read_battles(write_json_lines(tmp_path / "u.jsonl", exchanged))
    assert_held(battles, same, [])
    judged = [row | {"preference": 3 - row["preference"]} for row in rows]
    other = read_battles(write_json_lines(tmp_path / "v.jsonl", judged))
    assert_held(replace(battles, winner=battles.swap().winner, soft=battles.swap().soft), other, [])


def test_a_file_without_preferences_has_neither_winners_nor_soft_winners(tmp_path: Path):
    rows = [{name: cell for name, cell in row.items() if name != "preference"} for row in rows_of(5)]
    battles = read_battles(write_json_lines(tmp_path / "t.jsonl", rows))
    assert (len(battles), battles.winner, battles.soft) == (5, None, None)


@pytest.mark.parametrize("cell", [[1], {"a": 1}, True])
def test_a_preference_of_a_wrong_type_is_damage(tmp_path: Path, cell: Any):
    path = write_json_lines(tmp_path / "t.jsonl", [rows_of(1)[0] | {"preference": cell}])
    with pytest.raises(UserError, match=r"row 1: preference is .*, expected a number"):
        read_battles(path)


def same(battles: Battles) -> bool:
    return battles.response_a.tolist() == battles.response_b.tolist()


def drawn(battles: Battles) -> Battles:
    """The battles with each row swapped whose answer B is to be the first one."""
    rows = [battles.take(slice(i, i + 1)) for i in range(len(battles))]
    rows = [row if is_first(*(getattr(row, c)[0] for c in TEXTS)) or same(row) else row.swap() for row in rows]
    return concatenate(rows)


@SHARED_FOLDER
@given(battles=single_exchanges(judge=NAME, category=NAME), ending=st.sampled_from(ENDINGS), data=st.data())
def test_what_is_written_is_read_back_on_the_drawn_sides(
    tmp_path: Path, battles: Battles, ending: str, data: st.DataObject
):
    is_soft = battles.winner is not None and data.draw(st.booleans())
    if is_soft:
        likelier = [data.draw(st.floats(0.501, 1)) for _ in battles.id]
        rows = {0: lambda p: (p, 1 - p, 0), 1: lambda p: (1 - p, p, 0), 2: lambda p: (0, 0, 1)}
        soft = [rows[winner](p) for winner, p in zip(battles.labels.tolist(), likelier, strict=True)]
        battles = replace(battles, soft=np.array(soft, dtype=float))
    battles = drawn(battles)
    back, lost = read_back(tmp_path, battles, "alpaca_eval", ending)
    assert lost == []
    assert_held(battles, back, lost)


@pytest.mark.parametrize("soft", [(0.6, 0.3, 0.1), (0.3, 0.7, 0.0), (0.5, 0.5, 0.0)])
def test_soft_winners_without_a_place_are_lost_and_the_winner_stays(tmp_path: Path, soft: tuple[float, ...]):
    battles = drawn(plain_battles(("q", "a", "b"), winner=[0]))
    hard = battles.labels.tolist()
    given_soft = np.array([soft if hard == [0] else (soft[1], soft[0], soft[2])])
    back, lost = read_back(tmp_path, replace(battles, soft=given_soft), "alpaca_eval", "jsonl")
    assert lost == ["soft"]
    assert back.labels.tolist() == hard
    assert back.soft.tolist() == [[1.0, 0.0, 0.0] if hard == [0] else [0.0, 1.0, 0.0]]


def test_soft_winners_alone_do_not_make_winners(tmp_path: Path):
    battles = replace(drawn(plain_battles(("q", "a", "b"))), soft=np.array([[0.75, 0.25, 0.0]]))
    back, lost = read_back(tmp_path, battles, "alpaca_eval", "jsonl")
    assert (lost, back.winner, back.soft) == (["soft"], None, None)


def test_conversations_are_not_written_and_other_columns_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="schema alpaca_eval: id b0 has 2 turns"):
        write_battles(conversations((("p", "q"), ("a", "b"), ("c", "d"))), tmp_path / "t.csv", "alpaca_eval")
    battles = replace(plain_battles(("q", "a", "b")), group=object_array(["g"]))
    assert write_battles(battles, tmp_path / "t.csv", "alpaca_eval") == ["group"]
