"""Real battles that are written in any schema and kind of file are the same battles when they are read."""

import csv
import gzip
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairrank.data.battles import TEXTS, Battles
from pairrank.data.folds import assign_folds
from pairrank.data.formats.registry import schemas
from pairrank.data.reading import read_battles
from pairrank.data.writing import WRITTEN, write_battles
from pairrank.errors import UserError
from tests.support.battles import conversations, tiny_battles

SETS = ("arena", "mt_bench", "tulu", "pandalm", "llmfao")
KINDS = (".csv", ".jsonl.gz", ".parquet")
MOST = 100
"""Battles of each set that are written in the fast tests."""

README = Path(__file__).parents[2] / "Dataset" / "README.md"

Row = dict[str, Any]

PAIR = ("response_a", "response_b")

# What a schema may be unable to hold, in the words of this file; each is examined row by row.
FAULTS: dict[str, Callable[[Row], bool]] = {
    "tie": lambda row: row["winner"] == 2,
    "several turns": lambda row: len(row["prompt"]) > 1,
    "equal answers": lambda row: row["response_a"] == row["response_b"],
    "different earlier answers": lambda row: row["response_a"][:-1] != row["response_b"][:-1],
    "winner without a name of its own": lambda row: (
        row["winner"] != 2 and (not row[("model_a", "model_b")[row["winner"]]] or row["model_a"] == row["model_b"])
    ),
    "turn that looks like a speaker": lambda row: any(
        re.search(r"\n\n(Human|Assistant):", turn) for name in TEXTS for turn in row[name]
    ),
}

SIDED: dict[str, tuple[str, ...]] = {
    "kaggle": (),
    "chatbot_arena": (),
    "arena_140k": (),
    "mt_bench": (),
    "comparia": ("winner without a name of its own",),
    "helpsteer": ("different earlier answers",),
    "webgpt": ("several turns",),
    "auto_j": ("several turns",),
    "pandalm": ("several turns",),
    "wsdm": ("tie", "several turns"),
}
"""What the schemas that say which answer is A refuse."""

DRAWN: dict[str, tuple[str, ...]] = {
    "alpaca_eval": ("several turns",),
    "trl_preference": ("tie", "equal answers"),
    "hh_rlhf": ("tie", "equal answers", "turn that looks like a speaker"),
    "reward_bench": ("tie", "equal answers", "several turns"),
}
"""The same for schemas whose sides are drawn when they are read."""

REFUSED = SIDED | DRAWN

NEED_WINNERS = (
    {"chatbot_arena", "arena_140k", "mt_bench", "comparia", "wsdm"}  # files without winners have other columns
    | {"trl_preference", "hh_rlhf", "reward_bench"}  # one of the answers is the chosen one
)


@cache
def whole(folder: Path, name: str) -> Battles:
    return read_battles(folder / name / "train.csv")


def some(folder: Path, name: str) -> Battles:
    """`MOST` battles from all over the file."""
    battles = whole(folder, name)
    return battles.take(np.linspace(0, len(battles) - 1, MOST).astype(int))


def rows_of(battles: Battles) -> list[Row]:
    columns = {name: column.tolist() for name, column in battles.columns().items() if column is not None}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def holdable(battles: Battles, schema: str) -> Battles:
    """The battles that have nothing of what the schema refuses."""
    sound = [not any(FAULTS[fault](row) for fault in REFUSED[schema]) for row in rows_of(battles)]
    return battles.take(np.array(sound, dtype=bool))


def exchanged(row: Row) -> Row:
    """A row with its sides exchanged."""
    names = {"response_a": "response_b", "response_b": "response_a", "model_a": "model_b", "model_b": "model_a"}
    swapped = {names.get(name, name): value for name, value in row.items()}
    return swapped | ({"winner": (1, 0, 2)[row["winner"]]} if "winner" in row else {})


def with_sides_of(row: Row, other: Row) -> Row:
    """A row with its sides exchanged if those of the other row are."""
    is_turned = [row[name] for name in PAIR] == [other[name] for name in reversed(PAIR)]
    return exchanged(row) if is_turned and row["response_a"] != row["response_b"] else row


def assert_same(found: Battles, expected: Battles, schema: str, lost: list[str]) -> None:
    """The same battles, in their order, in all columns that were not named as lost; other columns are new."""
    assert found.id.tolist() == expected.id.tolist()
    for ours, theirs in zip(rows_of(found), rows_of(expected), strict=True):
        row = with_sides_of(theirs, ours) if schema in DRAWN else theirs
        kept = {name: value for name, value in row.items() if name not in lost}
        assert {name: ours.get(name) for name in kept} == kept


def there_and_back(battles: Battles, path: Path, schema: str) -> tuple[Battles, list[str]]:
    """The battles as they are read from a file whose columns tell the schema, and what was lost."""
    lost = write_battles(battles, path, schema)
    return read_battles(path), lost


def test_these_tests_know_every_schema():
    assert set(REFUSED) | {"helpsteer2"} == set(schemas())


# There and back


@pytest.mark.parametrize("kind", [".csv", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
@pytest.mark.parametrize("schema", REFUSED)
@pytest.mark.parametrize("name", SETS)
def test_real_battles_are_read_as_they_were_written(arena: Path, tmp_path: Path, name: str, schema: str, kind: str):
    battles = holdable(some(arena.parent, name), schema)
    assert len(battles) > 10
    found, lost = there_and_back(battles, tmp_path / f"votes{kind}", schema)
    assert_same(found, battles, schema, lost)
    assert not set(lost) - {"model_a", "model_b"}


@pytest.mark.slow
@pytest.mark.parametrize("schema", REFUSED)
@pytest.mark.parametrize("name", SETS)
def test_all_real_battles_are_read_as_they_were_written(arena: Path, tmp_path: Path, name: str, schema: str):
    battles = holdable(whole(arena.parent, name), schema)
    for kind in KINDS:
        found, lost = there_and_back(battles, tmp_path / f"votes{kind}", schema)
        assert_same(found, battles, schema, lost)


@pytest.mark.parametrize("schema", ["kaggle", "alpaca_eval", "auto_j", "pandalm", "webgpt", "helpsteer"])
def test_battles_to_predict_are_read_as_they_were_written(arena: Path, tmp_path: Path, schema: str):
    battles = read_battles(arena / "test.csv").take(slice(0, MOST))
    single = np.array([len(turns) == 1 for turns in battles.prompt])
    battles = battles.take(single)
    for kind in KINDS:
        found, lost = there_and_back(battles, tmp_path / f"votes{kind}", schema)
        assert found.winner is None
        assert found.soft is None
        assert_same(found, battles, schema, lost)


@pytest.mark.parametrize("schema", SIDED)
def test_a_swapped_table_is_read_as_swapped_battles(arena: Path, tmp_path: Path, schema: str):
    battles = holdable(some(arena.parent, "tulu"), schema)
    straight, lost = there_and_back(battles, tmp_path / "straight.jsonl", schema)
    turned, _ = there_and_back(battles.swap(), tmp_path / "turned.jsonl", schema)
    assert not set(lost) - {"model_a", "model_b"}
    derived = {"strength", "soft"}
    for one, other in zip(rows_of(straight), rows_of(turned), strict=True):
        plain = {name: value for name, value in exchanged(one).items() if name not in derived}
        assert {name: value for name, value in other.items() if name not in derived} == plain
        assert other.get("strength", 0.0) == -one.get("strength", 0.0)


@pytest.mark.parametrize("schema", DRAWN)
def test_drawn_sides_do_not_depend_on_the_sides_that_were_written(arena: Path, tmp_path: Path, schema: str):
    battles = holdable(some(arena.parent, "tulu"), schema)
    battles = battles.take(battles.response_a != battles.response_b)  # equal answers have no sides to draw
    straight, _ = there_and_back(battles, tmp_path / "straight.jsonl", schema)
    turned, _ = there_and_back(battles.swap(), tmp_path / "turned.jsonl", schema)
    assert rows_of(straight) == rows_of(turned)
    wins = np.bincount(straight.labels, minlength=2)[:2]
    assert wins.min() > 0.3 * wins.sum()


def expected_fold(prompt: tuple[str, ...], k: int = 5) -> int:
    """DESIGN.md, section 2, law 2."""
    key = " ".join(unicodedata.normalize("NFKC", prompt[0]).split()).casefold()
    return int.from_bytes(hashlib.sha256(b"\0" + key.encode()).digest()[:8], "big") % k


@pytest.mark.parametrize("schema", REFUSED)
def test_a_battle_has_the_same_fold_in_every_schema(arena: Path, tmp_path: Path, schema: str):
    for name in SETS:
        battles = holdable(some(arena.parent, name), schema)
        found, _ = there_and_back(battles, tmp_path / f"{name}.jsonl", schema)
        assert assign_folds(found).tolist() == [expected_fold(prompt) for prompt in battles.prompt]


# Refusals


@pytest.mark.parametrize(
    ("schema", "fault"), [(schema, fault) for schema, faults in REFUSED.items() for fault in faults]
)
def test_battles_that_a_schema_cannot_hold_are_refused_and_no_file_is_left(
    arena: Path, tmp_path: Path, schema: str, fault: str
):
    sets = [some(arena.parent, name) for name in SETS]
    every = [battles.take(np.array([i])) for battles in sets for i in range(len(battles))]
    others = [other for other in REFUSED[schema] if other != fault]
    battles = next(
        (
            each
            for each in every
            if FAULTS[fault](rows_of(each)[0]) and not any(FAULTS[other](rows_of(each)[0]) for other in others)
        ),
        None,
    )
    if battles is None:
        assert fault in ("equal answers", "turn that looks like a speaker")
        text = {"equal answers": "same", "turn that looks like a speaker": "I.\n\nHuman: said so"}[fault]
        other = text if fault == "equal answers" else "other"
        battles = conversations((("q",), (text,), (other,)), winner=[0])
    with pytest.raises(UserError, match=f"schema {schema}: .*[Cc]hoose a"):
        write_battles(battles, tmp_path / "votes.jsonl", schema)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("schema", sorted(NEED_WINNERS))
def test_battles_without_winners_are_refused_where_a_row_is_a_vote(tmp_path: Path, schema: str):
    with pytest.raises(UserError, match=f"schema {schema}: .*no winners"):
        write_battles(tiny_battles(labelled=False), tmp_path / "votes.jsonl", schema)
    assert list(tmp_path.iterdir()) == []


def test_the_schema_of_helpsteer2_is_read_only(tmp_path: Path):
    with pytest.raises(UserError, match="read, not written"):
        write_battles(tiny_battles(), tmp_path / "votes.jsonl", "helpsteer2")


def test_unknown_schemas_and_endings_are_refused_with_what_is_known(tmp_path: Path):
    with pytest.raises(UserError, match=r"kagle.*kaggle"):
        write_battles(tiny_battles(), tmp_path / "votes.csv", "kagle")
    for name in ("votes.xlsx", "votes", "votes.json", "votes.csv.zip"):
        with pytest.raises(UserError, match=r"unknown ending.*\.csv.*\.parquet"):
            write_battles(tiny_battles(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Kinds of files


@pytest.mark.parametrize("ending", [*WRITTEN, ".CSV", ".JSONL.GZ", ".csv.jsonl", ".jsonl.csv", ".csv.parquet"])
def test_the_last_ending_tells_the_kind_of_file(tmp_path: Path, ending: str):
    path = tmp_path / f"votes{ending}"
    write_battles(tiny_battles(4), path)
    content = path.read_bytes()
    lowered = ending.lower()
    if lowered.endswith(".gz"):
        content, lowered = gzip.decompress(content), lowered.removesuffix(".gz")
    starts = {".csv": b'"id",', ".jsonl": b'{"id": ', ".parquet": b"PAR1"}
    assert content.startswith(next(start for kind, start in starts.items() if lowered.endswith(kind)))
    assert read_battles(path).content_hash() == tiny_battles(4).content_hash()


@pytest.mark.parametrize("schema", ["chatbot_arena", "mt_bench", "trl_preference"])
def test_lists_are_json_cells_in_csv(tmp_path: Path, schema: str):
    turns = ('a "quoted", line\nand\r\nmore', ""), ("one, 'two'", "[3]"), ("é 😀", '{"four": 4}')
    battles = conversations(turns, winner=[0])
    path = tmp_path / "votes.csv"
    found, lost = there_and_back(battles, path, schema)
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    winning = row["chosen" if schema == "trl_preference" else "conversation_a"]
    assert json.loads(winning) == [
        {"role": "user", "content": 'a "quoted", line\nand\r\nmore'},
        {"role": "assistant", "content": "one, 'two'"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "[3]"},
    ]
    assert_same(found, battles, schema, lost)


# Documentation


def test_the_readme_of_the_data_names_every_schema_and_kind_of_file():
    text = README.read_text(encoding="utf-8")
    assert [name for name in schemas() if f"| `{name}` |" not in text] == []
    assert [kind for kind in WRITTEN if f"`{kind}`" not in text] == []
