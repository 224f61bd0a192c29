"""Every battle file is parsed and repaired here, and all complaints about it are reported in one message."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, concatenate, object_array
from pairrank.data.probabilities import Labels
from pairrank.data.seen_ids import SeenIds
from pairrank.data.turns import SURROGATE, join_turns, parse_turns, repair_text
from pairrank.errors import UserError, combined_error
from pairrank.files import atomic_path, csv_rows

SUFFIXES = (".csv", ".csv.gz", ".parquet")
"""The formats of battle files."""
COLUMNS = ("id", *MODELS, *TEXTS, *WINNERS)
"""The columns of a battle file. Test files have no models and no winners."""
REMEDY = "`Dataset/README.md` describes the format."
"""The last sentence of messages about a file's format."""
BUFFER = 2**20
"""Bytes that are read at a time from a column of a .parquet file."""

UNCLEAR = -1
"""The winner of a row whose winner columns are not a single 1 and two 0. It is used in this module only."""

Damage = Literal["raise", "repair", "drop"]
"""Handling of damaged rows: an error, a repair, or a repair that leaves out battles with an unclear winner."""


class Table(NamedTuple):
    """Some rows of a file, not yet parsed."""

    columns: list[str]
    """Names of all columns of the file."""
    cells: dict[str, Sequence[Any]]
    """Cells by column, of the columns in `COLUMNS` only."""
    complaints: list[str]
    """One complaint per row whose length differs from that of the header."""


def read_battles(path: str | Path, damage: Damage = "raise") -> Battles:
    """Read a .csv, .csv.gz or .parquet file in the competition's format.

    With `damage="raise"`, for training data, all complaints about the file are raised in one UserError. With
    `"repair"`, for battles to predict, damaged rows are repaired and listed in `repairs`, because one missing row
    invalidates a submission. A file that cannot be read, or that has no ids or a text column missing, raises
    UserError in both cases.
    """
    path = Path(path)
    parts: list[Battles] = []
    complaints: list[str] = []
    for part, found in _parse_file(path, damage, rows=20_000):
        parts.append(part)
        complaints += found
    if complaints and damage == "raise":
        raise combined_error(str(path), complaints, f"Correct or remove these rows. {REMEDY}")
    battles = concatenate(parts)
    if not len(battles) and damage == "raise":
        raise UserError(f"{path}: the file contains no battles. Expected a header and one row per battle. {REMEDY}")
    return replace(battles, repairs=tuple(complaints))


def read_training_battles(path: str | Path) -> Battles:
    """Read a file of battles with winners. Raises UserError with every complaint, or if there are no winners."""
    battles = read_battles(path)
    if battles.winner is None:
        columns = ", ".join(WINNERS)
        raise UserError(
            f"{path}: the file contains no winners. Training needs the columns {columns}. Is this a test file?"
        )
    return battles


def stream_battles(
    path: str | Path, rows: int = 2_000, damage: Literal["repair", "drop"] = "repair"
) -> Iterator[Battles]:
    """Yield the battles of a file of any size in parts of `rows` rows, repaired.

    Only the ids of earlier parts are kept in memory. If the winner of a battle is unclear, its whole part has no
    winners; with "drop", that battle alone is left out. There is at least one part. A part has fewer rows, perhaps
    none, if ids are repeated.
    """
    for part, complaints in _parse_file(Path(path), damage, rows):
        yield replace(part, repairs=tuple(complaints))


def write_battles(battles: Battles, path: Path) -> None:
    """Write a .csv file in the competition's format, which cannot hold soft labels, weights and inputs."""
    columns: dict[str, Any] = {"id": battles.id}
    if battles.model_a is not None and battles.model_b is not None:
        columns |= {"model_a": battles.model_a, "model_b": battles.model_b}
    columns |= {name: [join_turns(turns) for turns in getattr(battles, name)] for name in TEXTS}
    if battles.winner is not None:
        columns |= {name: (battles.winner == i).astype(int) for i, name in enumerate(WINNERS)}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        # All text is quoted, because Python 3.11 does not quote a bare carriage return, which would end the row.
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _parse_file(path: Path, damage: Damage, rows: int) -> Iterator[tuple[Battles, list[str]]]:
    """Yield battles and complaints in parts of `rows` rows, at least one, with only the first row of every id."""
    seen = SeenIds()
    first_row = 1
    for table in _tables(path, rows):
        if first_row == 1:
            _check_columns(path, table.columns, damage)
        battles, complaints = _parse(table.cells, first_row)
        fresh = ~seen.mark(battles.id.tolist())
        complaints += [
            f"id {battles.id[row]}: repeated in row {first_row + row}, expected once; only the first row is used"
            for row in np.flatnonzero(~fresh)
        ]
        if battles.winner is not None and (battles.winner == UNCLEAR).any():
            if damage == "drop":
                fresh &= battles.winner != UNCLEAR
            else:
                battles = replace(battles, winner=None)  # no repair can know the true winner
        yield battles if fresh.all() else battles.take(fresh), table.complaints + complaints
        first_row += len(battles)


def _tables(path: Path, rows: int) -> Iterator[Table]:
    """Yield the file in tables of `rows` rows. A file without rows yields one table without rows."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a battle file ({', '.join(SUFFIXES)}). Check the path.")
    if not path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: unknown file format. Expected one of {', '.join(SUFFIXES)}. Convert the file.")
    return _parquet_tables(path, rows) if path.suffix.lower() == ".parquet" else _csv_tables(path, rows)


def _csv_tables(path: Path, rows: int) -> Iterator[Table]:
    lines = csv_rows(path)
    header = [name.strip() for name in next(lines)]
    places = {name: header.index(name) for name in COLUMNS if name in header}
    first_row, block = 1, list(islice(lines, rows))
    while True:
        complaints = [
            f"row {row}: {len(cells)} cells, expected {len(header)} as in the header"
            for row, cells in enumerate(block, first_row)
            if len(cells) != len(header)
        ]
        if complaints:
            block = [cells + [""] * (len(header) - len(cells)) for cells in block]
        yield Table(header, {name: [cells[at] for cells in block] for name, at in places.items()}, complaints)
        first_row += len(block)
        if not (block := list(islice(lines, rows))):
            return


def _parquet_tables(path: Path, rows: int) -> Iterator[Table]:
    import pyarrow
    from pyarrow import parquet

    try:
        # Without a buffer, a column of a whole row group, perhaps the whole file, is read at once.
        with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
            header = file.schema_arrow.names
            wanted = [name for name in COLUMNS if name in header]
            if not file.metadata.num_rows:
                yield Table(header, {name: [] for name in wanted}, [])
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                yield Table(header, {name: _decoded(batch.column(name).to_pylist()) for name in wanted}, [])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{path}: damaged file ({reason}). Download or export it again.") from error


def _decoded(cells: list[Any]) -> list[Any]:
    """Return cells with bytes decoded to text and everything else unchanged."""
    return [cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell for cell in cells]


def _check_columns(path: Path, found: list[str], damage: Damage) -> None:
    """Raise UserError unless the required columns exist.

    For training data, each must exist once, and model names and winners must be complete or absent.
    """
    expected = ["id", *TEXTS]
    if damage == "raise":
        expected += [name for group in (MODELS, WINNERS) if set(group) & set(found) for name in group]
    complaints = [f"missing column {name!r}" for name in expected if name not in found]
    if damage == "raise":
        complaints += [
            f"column {name!r} occurs more than once, expected once" for name in expected if found.count(name) > 1
        ]
    if complaints:
        raise combined_error(
            str(path), complaints, f"Found the columns {', '.join(map(repr, found)) or 'none'}. {REMEDY}"
        )


def _parse(cells: dict[str, Sequence[Any]], first_row: int) -> tuple[Battles, list[str]]:
    """Return the battles in raw cells and one complaint per repair. `first_row` is the number of the first row."""
    ids, complaints = _ids(cells["id"], first_row)
    for column, values in cells.items():
        garbled = (i for i, cell in zip(ids, values, strict=True) if isinstance(cell, str) and _garbled(cell))
        complaints += [f"id {i}: {column} contains bytes that are not UTF-8, expected UTF-8 text" for i in garbled]
    columns, found = _texts(cells, ids)
    complaints += found
    if set(MODELS) <= set(cells):
        columns |= {name: object_array([_text(cell) for cell in cells[name]]) for name in MODELS}
    if set(WINNERS) <= set(cells):
        columns["winner"], found = _winners([list(map(_text, cells[name])) for name in WINNERS], ids)
        complaints += found
    return Battles(id=object_array(ids), **columns), complaints


def _ids(cells: Sequence[Any], first_row: int) -> tuple[list[str], list[str]]:
    """Return the ids and one complaint per missing id, which becomes the number of its row."""
    ids = [_text(cell) or f"row-{row}" for row, cell in enumerate(cells, first_row)]
    missing = [row for row, cell in enumerate(cells) if not _text(cell)]
    return ids, [f"row {first_row + row}: no id, expected one; {ids[row]!r} is used" for row in missing]


def _texts(cells: dict[str, Sequence[Any]], ids: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the text columns with an equal number of turns in every row, and one complaint per repair."""
    complaints: list[str] = []
    texts: dict[str, list[tuple[str, ...]]] = {}
    for column in TEXTS:
        parsed = [parse_turns(cell) for cell in cells[column]]
        texts[column] = [turns for turns, _ in parsed]
        complaints += [f"id {i}: {column} {fault}" for i, (_, fault) in zip(ids, parsed, strict=True) if fault]
    for row, lengths in enumerate(zip(*(map(len, texts[column]) for column in TEXTS), strict=True)):
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{n} in {column}" for n, column in zip(lengths, TEXTS, strict=True))
            complaints.append(f"id {ids[row]}: unequal turns ({counts}), expected one answer per prompt turn")
            for column in TEXTS:
                texts[column][row] += ("",) * (max(lengths) - len(texts[column][row]))
    return {name: object_array(values) for name, values in texts.items()}, complaints


def _winners(cells: list[list[str]], ids: list[str]) -> tuple[Labels, list[str]]:
    """Return (n,) winners and one complaint per `UNCLEAR` row, whose three cells are not a single 1 and two 0."""
    rows = np.array([[_flag(cell) for cell in column] for column in cells], dtype=np.int64).T
    unsound = (rows < 0).any(axis=1) | (rows.sum(axis=1) != 1)
    complaints = [
        f"id {ids[row]}: winner columns are {', '.join(column[row] or 'empty' for column in cells)}, "
        "expected a single 1 and two 0"
        for row in np.flatnonzero(unsound)
    ]
    return np.where(unsound, UNCLEAR, rows.argmax(axis=1)), complaints


def _flag(cell: str) -> int:
    """Return 1 or 0 for the spellings of winner columns, and -1 for anything else."""
    return {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}.get(cell.lower(), -1)


def _text(cell: Any) -> str:
    """Return an id, a name or a number as text: a whole float without its ".0", and "" for null and NaN."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return repair_text(str(cell)).strip()


def _garbled(cell: str) -> bool:
    """Return whether some bytes of a cell were not UTF-8. A raw cell contains surrogates only for such bytes."""
    return not cell.isascii() and SURROGATE.search(cell) is not None
