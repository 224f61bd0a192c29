"""The only reader of battle files: parsing, cleaning, and one message with every complaint about a file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, concatenate, object_array
from pairrank.data.seen_ids import SeenIds
from pairrank.data.turns import SURROGATE, join_turns, parse_turns, repair_text
from pairrank.errors import UserError, combined_error
from pairrank.files import atomic_path, csv_rows

SUFFIXES = (".csv", ".csv.gz", ".parquet")
COLUMNS = ("id", *MODELS, *TEXTS, *WINNERS)
REMEDY = "`Dataset/README.md` describes the format."
BUFFER = 2**20
"""Bytes of a column of a .parquet file that are read at a time."""

UNCLEAR = -1
"""The winner of a row whose three columns are not a single 1 and two 0; no `Battles` leave this module with one."""
Damage = Literal["raise", "repair", "drop"]


class Table(NamedTuple):
    """Some rows of a file, as they stand there."""

    columns: list[str]
    """Every column of the file."""
    cells: dict[str, Sequence[Any]]
    """The cells of the columns that battles have."""
    complaints: list[str]
    """Rows that do not fit the header."""


def read_battles(path: str | Path, damage: Damage = "raise") -> Battles:
    """Read .csv, .csv.gz or .parquet in the competition's format.

    With `damage="raise"` (training data) every complaint about the file is gathered into one UserError. With
    `"repair"` (battles to predict, where one lost row loses a whole submission) damaged rows are mended and
    listed in `repairs`; only a file that cannot be read at all, or lacks the ids or a text column, still raises.
    """
    path = Path(path)
    parts: list[Battles] = []
    complaints: list[str] = []
    for part, found in _parse_file(path, damage, rows=20_000):
        parts.append(part)
        complaints += found
    if complaints and damage == "raise":
        raise combined_error(str(path), complaints, f"Mend or remove these rows; {REMEDY}")
    battles = concatenate(parts)
    if not len(battles) and damage == "raise":
        raise UserError(f"{path}: no battles in it. Expected one row per battle below the header.")
    return replace(battles, repairs=tuple(complaints))


def stream_battles(
    path: str | Path, rows: int = 2_000, damage: Literal["repair", "drop"] = "repair"
) -> Iterator[Battles]:
    """The battles of a file of any size, `rows` at a time, repaired; of those passed only ids are kept.

    Where any winner of a part is unclear, all of it goes without, or, with "drop", that battle is left out.
    There is at least one part; a part holds less than `rows` where ids were repeated, and perhaps nothing.
    """
    for part, complaints in _parse_file(Path(path), damage, rows):
        yield replace(part, repairs=tuple(complaints))


def write_battles(battles: Battles, path: Path) -> None:
    """Write a .csv in the competition's format, which has no place for soft labels."""
    columns: dict[str, Any] = {"id": battles.id}
    if battles.model_a is not None and battles.model_b is not None:
        columns |= {"model_a": battles.model_a, "model_b": battles.model_b}
    columns |= {name: [join_turns(turns) for turns in getattr(battles, name)] for name in TEXTS}
    if battles.winner is not None:
        columns |= {name: (battles.winner == i).astype(int) for i, name in enumerate(WINNERS)}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        # Text is always quoted: Python 3.11 forgets to where a bare carriage return would end the row.
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _parse_file(path: Path, damage: Damage, rows: int) -> Iterator[tuple[Battles, list[str]]]:
    """Battles and complaints, `rows` at a time, only the first row of every id; at least one part."""
    passed = SeenIds()
    first_row = 1
    for table in _tables(path, rows):
        if first_row == 1:
            _check_columns(path, table.columns, damage)
        battles, complaints = _parse(table.cells, first_row)
        fresh = ~passed.mark(battles.id.tolist())
        complaints += [
            f"id {battles.id[row]}: stands again in row {first_row + row}, expected once; the first counts"
            for row in np.flatnonzero(~fresh)
        ]
        if battles.winner is not None and (battles.winner == UNCLEAR).any():
            if damage == "drop":
                fresh &= battles.winner != UNCLEAR
            else:
                battles = replace(battles, winner=None)  # a repaired winner would be an invented one
        yield battles if fresh.all() else battles.take(fresh), table.complaints + complaints
        first_row += len(battles)


def _tables(path: Path, rows: int) -> Iterator[Table]:
    """The file, `rows` rows at a time; at least one table, which has no rows if the file has none."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a file of battles ({', '.join(SUFFIXES)}).")
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: cannot read this kind of file. Expected one of {', '.join(SUFFIXES)}.")
    return _parquet_tables(path, rows) if path.suffix.lower() == ".parquet" else _csv_tables(path, rows)


def _csv_tables(path: Path, rows: int) -> Iterator[Table]:
    lines = csv_rows(path)
    header = [name.strip() for name in next(lines)]
    wanted = {name: header.index(name) for name in COLUMNS if name in header}
    first_row, block = 1, list(islice(lines, rows))
    while True:
        complaints = [
            f"row {row}: {len(cells)} cells, expected {len(header)} as in the header"
            for row, cells in enumerate(block, first_row)
            if len(cells) != len(header)
        ]
        if complaints:
            block = [cells + [""] * (len(header) - len(cells)) for cells in block]
        yield Table(header, {name: [cells[at] for cells in block] for name, at in wanted.items()}, complaints)
        first_row += len(block)
        if not (block := list(islice(lines, rows))):
            return


def _parquet_tables(path: Path, rows: int) -> Iterator[Table]:
    import pyarrow
    from pyarrow import parquet

    try:
        # Buffered: otherwise a column of a row group, all of a file perhaps, is read at once.
        with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
            header = file.schema_arrow.names
            wanted = [name for name in COLUMNS if name in header]
            if not file.metadata.num_rows:
                yield Table(header, {name: [] for name in wanted}, [])
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                yield Table(header, {name: _decoded(batch.column(name).to_pylist()) for name in wanted}, [])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        what = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{path}: damaged file ({what}). Download or export it again.") from error


def _decoded(cells: list[Any]) -> list[Any]:
    """Texts that a parquet file keeps as bytes, as text; everything else as it is."""
    return [cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell for cell in cells]


def _check_columns(path: Path, found: list[str], damage: Damage) -> None:
    """Raise UserError unless the format's columns are there, each once; winners and model names all or none."""
    expected = ["id", *TEXTS]
    if damage == "raise":
        expected += [name for group in (MODELS, WINNERS) if set(group) & set(found) for name in group]
    complaints = [f"missing column {name!r}" for name in expected if name not in found]
    if damage == "raise":
        complaints += [f"column {name!r} stands there more than once" for name in expected if found.count(name) > 1]
    if complaints:
        raise combined_error(
            str(path), complaints, f"Found the columns {', '.join(map(repr, found)) or 'none'}. {REMEDY}"
        )


def _parse(cells: dict[str, Sequence[Any]], first_row: int) -> tuple[Battles, list[str]]:
    """Raw cells as battles, with a complaint for everything that had to be mended."""
    complaints: list[str] = []
    ids = [_text(cell) for cell in cells["id"]]
    for row, name in enumerate(ids):
        if not name:
            ids[row] = f"row-{first_row + row}"
            complaints.append(f"row {first_row + row}: no id, expected one; called {ids[row]!r} here")
    for column, values in cells.items():
        garbled = (i for i, cell in zip(ids, values, strict=True) if isinstance(cell, str) and _garbled(cell))
        complaints += [f"id {i}: {column} holds bytes that are not UTF-8" for i in garbled]
    texts: dict[str, list[tuple[str, ...]]] = {}
    for column in TEXTS:
        parsed = [parse_turns(cell) for cell in cells[column]]
        texts[column] = [turns for turns, _ in parsed]
        complaints += [f"id {i}: {column} {what}" for i, (_, what) in zip(ids, parsed, strict=True) if what]
    for row, lengths in enumerate(zip(*(map(len, texts[column]) for column in TEXTS), strict=True)):
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{n} in {column}" for n, column in zip(lengths, TEXTS, strict=True))
            complaints.append(f"id {ids[row]}: unequal turns ({counts}), expected as many answers as prompts")
            for column in TEXTS:
                texts[column][row] += ("",) * (max(lengths) - len(texts[column][row]))
    columns: dict[str, Any] = {name: object_array(values) for name, values in texts.items()}
    if set(MODELS) <= set(cells):
        columns |= {name: object_array([_text(cell) for cell in cells[name]]) for name in MODELS}
    if set(WINNERS) <= set(cells):
        columns["winner"], found = _winners([list(map(_text, cells[name])) for name in WINNERS], ids)
        complaints += found
    return Battles(id=object_array(ids), **columns), complaints


def _winners(cells: list[list[str]], ids: list[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """(n,) winners, and a complaint for each row that is `UNCLEAR`: not exactly one of three is 1."""
    rows = np.array([[_flag(cell) for cell in column] for column in cells], dtype=np.int64).T
    unsound = (rows < 0).any(axis=1) | (rows.sum(axis=1) != 1)
    complaints = [
        f"id {ids[row]}: winner columns are {', '.join(column[row] or 'empty' for column in cells)}, "
        "expected a single 1 and two 0"
        for row in np.flatnonzero(unsound)
    ]
    return np.where(unsound, UNCLEAR, rows.argmax(axis=1)), complaints


def _flag(cell: str) -> int:
    """1 or 0 as winner columns spell them; -1 for anything else."""
    return {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}.get(cell.lower(), -1)


def _text(cell: Any) -> str:
    """An id, a name or a number as text; whole floats come out as whole numbers, null and NaN as ""."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return repair_text(str(cell)).strip()


def _garbled(cell: str) -> bool:
    """Whether some bytes of a cell were not UTF-8: nothing else puts a surrogate into a raw cell."""
    return not cell.isascii() and SURROGATE.search(cell) is not None
