"""Battles of one turn each, for schemas whose cells are plain texts, and what must be true of every such schema."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pairrank.data.battles import TEXTS, Battles, object_array
from pairrank.data.formats.registry import all_columns, recognise
from pairrank.data.reading import read_battles
from pairrank.data.tables import read_tables
from pairrank.data.writing import write_battles
from tests.support.strategies import valid_battles

ENDINGS = ("csv", "jsonl", "parquet")


@st.composite
def single_exchanges(draw: st.DrawFn, labelled: bool | None = None, **details: Any) -> Battles:
    """Valid battles of one turn, with text columns such as `judge` drawn from the strategies in `details`."""
    battles = draw(valid_battles(least=1, labelled=labelled))
    texts = {name: object_array([turns[:1] for turns in getattr(battles, name)]) for name in TEXTS}
    columns = {name: object_array([draw(each) for _ in battles.id]) for name, each in details.items()}
    return replace(battles, soft=None, **texts, **columns)


def read_back(folder: Path, battles: Battles, schema: str, ending: str) -> tuple[Battles, list[str]]:
    """Battles that were written in a schema and read again by their columns, and the names of lost columns."""
    path = folder / f"back.{ending}"
    lost = write_battles(battles, path, schema)
    assert recognised(path) == schema
    return read_battles(path), lost


def assert_held(battles: Battles, back: Battles, lost: list[str]) -> None:
    """Every column that a schema holds is the same after reading."""
    for name, column in battles.columns().items():
        if column is None or name in lost:
            continue
        found = getattr(back, name)
        if column.dtype.kind == "f":
            np.testing.assert_allclose(found, column, rtol=0, atol=1e-15)
        else:
            assert found.tolist() == column.tolist(), name
    if battles.winner is None:
        assert back.winner is None


def recognised(path: Path) -> str:
    """The name of the schema that the columns of a file tell."""
    found = recognise(next(read_tables(path, 100, all_columns())))
    return found.name if found else ""


def write_json_lines(path: Path, rows: list[Any]) -> Path:
    """A file of one JSON value per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def json_lines(path: Path) -> list[Any]:
    """The values of a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
