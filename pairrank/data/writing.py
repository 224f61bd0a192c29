"""Battles are written in any schema that can hold them, as CSV, JSON Lines or Parquet by the file's name."""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.atomic import atomic_path
from pairrank.data.battles import Battles
from pairrank.data.formats.registry import find_schema
from pairrank.data.tables import json_line
from pairrank.errors import UserError

WRITTEN = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
"""The endings that `write_battles` knows."""


def write_battles(battles: Battles, path: Path, schema: str = "kaggle") -> list[str]:
    """Write a file of battles; return the names of columns that the schema cannot hold.

    Raises UserError for an unknown ending or schema, and for battles that the schema cannot hold.
    """
    refuse_unwritable(path, schema)
    kind = find_schema(schema)()
    columns = {name: _plain(values) for name, values in kind.columns(battles).items()}
    with atomic_path(path) as temporary:
        if path.name.lower().endswith(".parquet"):
            _write_parquet(columns, temporary)
        else:
            with _open(temporary, path.name.lower().endswith(".gz")) as file:
                write = _write_csv if path.name.lower().endswith((".csv", ".csv.gz")) else _write_lines
                write(columns, file)
    return kind.lost(battles)


def refuse_unwritable(path: Path, schema: str) -> None:
    """Raise UserError for an unknown ending, and for a schema that is unknown or only read."""
    if not find_schema(schema).is_written:
        raise UserError(f"schema {schema}: this schema is read, not written. Choose another one.")
    if not path.name.lower().endswith(WRITTEN):
        raise UserError(f"{path}: unknown ending. Expected one of {', '.join(WRITTEN)}.")


def _plain(values: Sequence[Any]) -> list[Any]:
    """Return a column as plain values."""
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _open(path: Path, is_gzip: bool) -> io.TextIOWrapper:
    binary: Any = gzip.GzipFile(path, "wb", mtime=0) if is_gzip else path.open("wb")
    return io.TextIOWrapper(binary, encoding="utf-8", newline="")


def _write_csv(columns: Mapping[str, Sequence[Any]], file: io.TextIOWrapper) -> None:
    # All text is quoted, because Python 3.11 does not quote a bare carriage return, which would end the row.
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([json_line(cell)[:-1] if isinstance(cell, list | tuple | dict) else cell for cell in row])


def _write_lines(columns: Mapping[str, Sequence[Any]], file: io.TextIOWrapper) -> None:
    file.writelines(json_line(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))


def _write_parquet(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
