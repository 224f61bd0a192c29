"""Hypothesis strategies for battles as files hold them: valid ones, and ragged ones that need repair."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pairrank.data.battles import TEXTS, WINNERS, Battles, object_array
from pairrank.data.cells import id_of, name_of

# Whatever UTF-8 can hold, with extra weight on what breaks readers.
NASTY = ["", " ", "\n", "\r\n", "\r", '"', '""', ",", "\\", "\\/", "null", "NaN", "[]", "\0", "\ufeff", "😀", "é"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(NASTY)
NAME = TEXT.map(str.strip).filter(lambda name: name == name_of(name) == id_of(name))


@st.composite
def valid_battles(draw: st.DrawFn, least: int = 0, labelled: bool | None = None) -> Battles:
    """Battles as `read_battles` would give them: unique ids, as many answers as prompts, labels or none."""
    ids = draw(st.lists(NAME.filter(bool), min_size=least, max_size=5, unique=True))
    counts = [draw(st.integers(1, 3)) for _ in ids]
    columns: dict[str, Any] = {
        name: object_array([tuple(draw(st.lists(TEXT, min_size=n, max_size=n))) for n in counts]) for name in TEXTS
    }
    if draw(st.booleans()):
        for side in "ab":
            columns[f"model_{side}"] = object_array([draw(NAME) for _ in ids])
    if labelled if labelled is not None else draw(st.booleans()):
        columns["winner"] = np.array([draw(st.integers(0, 2)) for _ in ids], dtype=np.int64)
        columns["soft"] = np.eye(3)[columns["winner"]] * 0.7 + 0.1
    return Battles(id=object_array(ids), **columns)


CELL = (
    st.lists(st.none() | TEXT | st.integers() | st.lists(TEXT, max_size=2), max_size=3).map(json.dumps)
    | TEXT
    | st.sampled_from(["", "NaN", "null", "[", '["\\ud83d"]', '["\\ud83d\\ude00"]', '{"a": 1}', "[" * 3000])
)
"""A cell that may be anything: a list with nulls, numbers and lists in it, other JSON, no JSON, nothing."""


@st.composite
def ragged_rows(draw: st.DrawFn) -> list[list[str]]:
    """Rows of a test file in any state: header first, ids absent or repeated, cells of any kind."""
    ids = draw(st.lists(st.sampled_from(["1", "2", "3", "", " 4 "]), max_size=6))
    return [["id", *TEXTS], *([name, *(draw(CELL) for _ in TEXTS)] for name in ids)]


def write_rows(path: Path, rows: list[list[str]]) -> Path:
    """A .csv file of these very cells, every one quoted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return path


def training_rows(n: int = 3) -> list[list[str]]:
    """Header and n sound rows of a training file, as text: ids from 1, winners A, B, tie in turn."""
    header = ["id", "model_a", "model_b", *TEXTS, *WINNERS]
    winners = [["1", "0", "0"], ["0", "1", "0"], ["0", "0", "1"]]
    texts = [[f'["{name} {i}"]' for name in TEXTS] for i in range(1, n + 1)]
    return [header, *([str(i), "m", "k", *texts[i - 1], *winners[(i - 1) % 3]] for i in range(1, n + 1))]
