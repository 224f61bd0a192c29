"""Every battle file is parsed and repaired here, and all complaints about it are reported in one message."""

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pairrank.atomic import atomic_path
from pairrank.data import cells as spelling
from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, concatenate, object_array
from pairrank.data.probabilities import Labels
from pairrank.data.seen_ids import SeenIds
from pairrank.data.turns import DECODER, LONGEST, SURROGATE, join_turns, parse_turns
from pairrank.errors import UserError, combined_error, excerpt, shorten
from pairrank.files import CONVERT, content_of, csv_rows, reading

SUFFIXES = (".csv", ".csv.gz", ".parquet")
"""The formats of battle files."""
COLUMNS = ("id", *MODELS, *TEXTS, *WINNERS)
"""The columns of a battle file. Test files have no models and no winners."""
REMEDY = "`Dataset/README.md` describes the format."
"""The last sentence of messages about a file's format."""
BUFFER = 2**20
"""Bytes that are read at a time from a column of a .parquet file."""

EXACT = {"halffloat": 2**11, "float": 2**24, "double": 2**53}
"""Parquet's floating-point types, with the number up to which each holds every integer."""

MOST_COMPLAINTS = 1_000
"""Complaints about one file that are kept in full; the others are counted."""

UNCLEAR = -1
"""The winner of a row whose winner columns are not a single 1 and two 0. It is used in this module only."""

logger = logging.getLogger(__name__)

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
    count = 0
    for part, found in _parse_file(path, damage, rows=20_000):
        count += len(found)
        complaints += found[: MOST_COMPLAINTS - len(complaints)]
        if not count or damage != "raise":
            parts.append(part)
    if count and damage == "raise":
        raise combined_error(str(path), complaints, f"Correct or remove these rows. {REMEDY}", count)
    battles = concatenate(parts)
    if count > len(complaints):
        complaints.append(f"{count - len(complaints):,} more repairs")
    if warning := battles.label_warning():
        logger.warning("%s: %s", path, warning)
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
    seen, missing, long = SeenIds(), Counter[str](), 0
    first_row = 1
    for table in _tables(path, rows):
        if first_row == 1:
            _check_columns(path, table.columns, damage)
        _refuse_messages(path, table.cells)
        cells, numbers, repeats = _without_headers(table.cells, first_row)
        missing += _missing_names(cells)
        long += sum(len(cell) > LONGEST for name in TEXTS for cell in cells[name] if isinstance(cell, str))
        battles, winner, complaints = _parse(cells, numbers)
        fresh = ~seen.mark(battles.id.tolist())
        complaints += [
            f"id {shorten(battles.id[row], 100)}: repeated in row {numbers[row]}, expected once"
            for row in np.flatnonzero(~fresh)
        ]
        if winner is not None and damage == "drop":
            fresh &= winner != UNCLEAR
        if not fresh.all():
            battles = battles.take(fresh)
        # No repair can know the true winner.
        if winner is not None and not (winner[fresh] == UNCLEAR).any():
            battles = replace(battles, winner=winner[fresh])
        yield battles, table.complaints + repeats + complaints
        first_row += len(numbers) + len(repeats)
    if missing:
        names = ", ".join(sorted(missing))
        logger.warning("%s: %d model names are %s and count as unknown", path, missing.total(), names)
    if long:
        logger.warning(
            "%s: %d texts of over a million characters; only the ends of such turns are used", path, long
        )


def _refuse_nested(path: Path, cells: Mapping[str, Sequence[Any]]) -> None:
    """Raise UserError if an id, a model name or a winner in a .parquet file is a list or a table."""
    for column in ("id", *MODELS, *WINNERS):
        found = next((cell for cell in cells.get(column, ()) if isinstance(cell, list | tuple | Mapping)), None)
        if found is not None:
            raise UserError(f"{path}: {column} is {excerpt(found, 60)}, expected a text or a number. {REMEDY}")


def _refuse_messages(path: Path, cells: Mapping[str, Sequence[Any]]) -> None:
    """Raise UserError if cells hold chat messages: the rows are not damaged, the file has another format."""
    for column in TEXTS:
        for cell in cells[column]:
            if not (isinstance(cell, list | tuple) or (isinstance(cell, str) and '"role"' in cell)):
                continue
            messages = [turn for turn in _decoded_list(cell) if isinstance(turn, Mapping)]
            if any({"role", "content"} <= turn.keys() for turn in messages):
                raise UserError(
                    f"{path}: the cells of {column!r} are lists of chat messages (role, content), expected lists "
                    "of texts. Write the contents alone: the user's in prompt, an assistant's in each answer. "
                    + REMEDY
                )


def _decoded_list(cell: Any) -> Sequence[Any]:
    """Return the items of a list that a cell holds, as it is or as JSON."""
    if isinstance(cell, str):
        try:
            cell = DECODER.decode(cell)
        except (ValueError, RecursionError):
            return ()
    return cell if isinstance(cell, list | tuple) else ()


def _missing_names(cells: Mapping[str, Sequence[Any]]) -> Counter[str]:
    """Return how often each spelling of a missing value stands for the name of a model."""
    names = Counter(spelling.text_of(cell) for column in MODELS if column in cells for cell in cells[column])
    return Counter({name: n for name, n in names.items() if name and not spelling.name_of(name)})


def _without_headers(
    cells: Mapping[str, Sequence[Any]], first_row: int
) -> tuple[Mapping[str, Sequence[Any]], list[int], list[str]]:
    """Return the rows that do not repeat the header, their numbers, and one complaint for each other row.

    Files that were joined contain the header more than once.
    """
    rows = range(len(cells["id"]))
    repeats = [row for row in rows if all(_is_word(values[row], name) for name, values in cells.items())]
    kept = sorted(set(rows) - set(repeats)) if repeats else rows
    if repeats:
        cells = {name: [values[row] for row in kept] for name, values in cells.items()}
    complaints = [f"row {first_row + row}: repeats the header, expected a battle" for row in repeats]
    return cells, [first_row + row for row in kept], complaints


def _is_word(cell: Any, word: str) -> bool:
    return isinstance(cell, str) and cell.strip() == word


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
    from pyarrow import parquet

    if (found := content_of(path)) not in ("", "Parquet"):
        raise UserError(f"{path}: the content is {found}, expected Parquet. {CONVERT}")
    # Without a buffer, a column of a whole row group, perhaps the whole file, is read at once.
    with reading(path), parquet.ParquetFile(path, buffer_size=BUFFER) as file:
        header = file.schema_arrow.names
        wanted = [name for name in COLUMNS if name in header]
        if not file.metadata.num_rows or any(header.count(name) > 1 for name in wanted):
            yield Table(header, {name: [] for name in wanted}, [])  # for `_check_columns`
        kind = str(file.schema_arrow.field("id").type) if "id" in header else ""
        for batch in file.iter_batches(batch_size=rows, columns=wanted):
            cells: dict[str, Sequence[Any]] = {name: _decoded(batch.column(name).to_pylist()) for name in wanted}
            _refuse_nested(path, cells)
            if kind in EXACT:
                _refuse_inexact_ids(path, cells["id"], kind)
            yield Table(header, cells, [])


def _refuse_inexact_ids(path: Path, ids: Sequence[float | None], kind: str) -> None:
    """Raise UserError if floating-point ids are so large that neighbouring integers are stored as one number."""
    if large := [cell for cell in ids if cell is not None and abs(cell) >= EXACT[kind]]:
        raise UserError(
            f"{path}: {len(large):,} ids such as {large[0]:.0f} are stored as {kind}, which is exact only up to "
            f"{EXACT[kind]:,}. Other battles may have got the same id. Export the ids as text or as integers."
        )


def _decoded(cells: list[Any]) -> list[Any]:
    """Return cells with bytes decoded to text and everything else unchanged."""
    return [cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell for cell in cells]


def _check_columns(path: Path, found: list[str], damage: Damage) -> None:
    """Raise UserError unless the required columns exist, and all known columns at most once.

    For training data, model names and winners must be complete or absent.
    """
    expected = ["id", *TEXTS]
    if damage == "raise":
        expected += [name for group in (MODELS, WINNERS) if set(group) & set(found) for name in group]
    complaints = [f"missing column {name!r}" for name in expected if name not in found]
    repeated = [name for name in COLUMNS if found.count(name) > 1]
    complaints += [f"column {name!r} occurs more than once, expected once" for name in repeated]
    if complaints:
        listed = ", ".join(map(excerpt, found[:20])) + (" …" if len(found) > 20 else "")
        raise combined_error(str(path), complaints, f"Found the columns {listed or 'none'}. {REMEDY}")


def _parse(
    cells: Mapping[str, Sequence[Any]], numbers: Sequence[int]
) -> tuple[Battles, npt.NDArray[np.int64] | None, list[str]]:
    """Return the battles in raw cells without winners, their winners or `UNCLEAR`, and one complaint per repair.

    `numbers` are those of the rows in the file.
    """
    ids, complaints = _ids(cells["id"], numbers)
    for column, values in cells.items():
        garbled = (i for i, cell in zip(ids, values, strict=True) if isinstance(cell, str) and _garbled(cell))
        complaints += [
            f"id {shorten(i, 100)}: {column} contains bytes that are not UTF-8, expected UTF-8 text"
            for i in garbled
        ]
    columns, found = _texts(cells, ids)
    complaints += found
    if set(MODELS) <= set(cells):
        columns |= {name: object_array([*map(spelling.name_of, cells[name])]) for name in MODELS}
    winner = None
    if set(WINNERS) <= set(cells):
        winner, found = _winners([cells[name] for name in WINNERS], ids)
        complaints += found
    return Battles(id=object_array(ids), **columns), winner, complaints


def _ids(cells: Sequence[Any], numbers: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the ids and one complaint per inexact id, and per missing id, which becomes the number of its row."""
    found = [spelling.id_of(cell) for cell in cells]
    ids = [name or f"row-{number}" for name, number in zip(found, numbers, strict=True)]
    missing = [number for name, number in zip(found, numbers, strict=True) if not name]
    complaints = [f"row {number}: no id, expected one; 'row-{number}' is used" for number in missing]
    inexact = filter(spelling.is_inexact, cells)
    complaints += [f"id {shorten(str(cell), 100)}: {spelling.INEXACT}" for cell in inexact]
    return ids, complaints


def _texts(cells: Mapping[str, Sequence[Any]], ids: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the text columns with an equal number of turns in every row, and one complaint per repair."""
    complaints: list[str] = []
    texts: dict[str, list[tuple[str, ...]]] = {}
    for column in TEXTS:
        parsed = [parse_turns(cell) for cell in cells[column]]
        texts[column] = [turns for turns, _ in parsed]
        complaints += [
            f"id {shorten(i, 100)}: {column} {fault}" for i, (_, fault) in zip(ids, parsed, strict=True) if fault
        ]
    for row, lengths in enumerate(zip(*(map(len, texts[column]) for column in TEXTS), strict=True)):
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{n} in {column}" for n, column in zip(lengths, TEXTS, strict=True))
            complaints.append(
                f"id {shorten(ids[row], 100)}: unequal turns ({counts}), expected one answer per prompt turn"
            )
            for column in TEXTS:
                texts[column][row] += ("",) * (max(lengths) - len(texts[column][row]))
    return {name: object_array(values) for name, values in texts.items()}, complaints


def _winners(cells: Sequence[Sequence[Any]], ids: list[str]) -> tuple[Labels, list[str]]:
    """Return (n,) winners and one complaint per `UNCLEAR` row, whose three cells are not a single 1 and two 0."""
    rows = np.array([[spelling.flag_of(cell) for cell in column] for column in cells], dtype=np.int64).T
    unsound = (rows < 0).any(axis=1) | (rows.sum(axis=1) != 1)
    complaints = []
    for row in np.flatnonzero(unsound).tolist():
        found = ", ".join(shorten(spelling.text_of(column[row]), 40) or "empty" for column in cells)
        complaints.append(f"id {shorten(ids[row], 100)}: winner columns are {found}, expected a single 1 and two 0")
    return np.where(unsound, UNCLEAR, rows.argmax(axis=1)), complaints


def _garbled(cell: str) -> bool:
    """Return whether some bytes of a cell were not UTF-8. A raw cell contains surrogates only for such bytes."""
    return not cell.isascii() and SURROGATE.search(cell) is not None
