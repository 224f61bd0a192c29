"""A file of rows is read in tables of a few thousand rows; its content tells its kind, whatever it is called."""

import gzip
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pairrank.data.shards import set_of, shards_of
from pairrank.data.turns import DECODER, SURROGATE
from pairrank.errors import UserError, excerpt
from pairrank.files import CONVERT, content_of, csv_rows, reading

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json", ".parquet")
"""The usual endings of battle files."""


def without_suffix(name: str) -> str:
    """Return the name of a battle file without its ending, and without the number of a shard."""
    if common := set_of(name):
        return common[0]
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


BUFFER = 2**20
"""Bytes that are read at a time from a column of a .parquet file, and characters from a JSON array."""

EXACT = {"halffloat": 2**11, "float": 2**24, "double": 2**53}
"""Parquet's floating-point types, with the number up to which each holds every integer."""

RAW_BYTE = re.compile("[\udc80-\udcff]")
NOT_UTF8 = "contains bytes that are not UTF-8, expected UTF-8 text"
"""Complaint about a row."""

SEPARATORS = re.compile(r"[\s,]*")
"""What stands between the items of a JSON array."""

UNFINISHED = 16
"""Last characters of a part, in which the decoder ends, or finds a fault, if the rest of an item is missing."""

READABLE = ("", "gzip", "Parquet", "JSON")
"""Kinds of content that may be tables; "" is CSV."""


class Table(NamedTuple):
    """Some rows of a file."""

    columns: list[str]
    """Names of all columns of the file; of the first rows if each row names its own."""
    cells: dict[str, Sequence[Any]]
    """Cells by column, of the wanted columns only; None where a row lacks one."""
    first_row: int
    """Number of the first of these rows, from 1."""
    complaints: list[str]
    """One complaint for each row that is not as the file's kind requires."""

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary by column."""
        for cells in zip(*self.cells.values(), strict=True):
            yield dict(zip(self.cells, cells, strict=True))


def read_tables(
    path: Path, rows: int, wanted: Collection[str], columns: Sequence[str] | None = None
) -> Iterator[Table]:
    """Yield the file in tables of `rows` rows; a file without rows yields one table without rows.

    `columns` are those of a JSON file, whose rows name their own; by default those of the first table.

    CSV, JSON Lines and JSON may be compressed with gzip. All kinds are read in parts, so that memory does not grow
    with the file. A shard of a Parquet table, such as train-00000-of-00003.parquet, stands for the whole table.
    Raises UserError, which begins with the path, for anything else.
    """
    if len(shards := shards_of(path)) > 1:
        return _joined(shards, rows, wanted)
    if not path.is_file():
        raise UserError(f"{path}: no such file, or no regular file. Expected a file of battles. Check the path.")
    kind = content_of(path)
    if kind not in READABLE:
        raise UserError(f"{path}: the content is {kind}, expected CSV in UTF-8, JSON Lines or Parquet. {CONVERT}")
    if kind == "Parquet" or (path.suffix.lower() == ".parquet" and not _is_text(path)):
        return _parquet_tables(path, rows, wanted)
    is_gzip = kind == "gzip"
    start = _beginning(path, is_gzip)
    if start.startswith(("{", "[")):
        objects = _array_items if start.startswith("[") else _lines
        return _json_tables(path, objects, is_gzip, rows, wanted, columns)
    return _csv_tables(path, rows, wanted)


def _joined(shards: Sequence[Path], rows: int, wanted: Collection[str]) -> Iterator[Table]:
    """Yield the tables of all shards, with rows numbered throughout; raises UserError if their columns differ."""
    header: list[str] = []
    first_row = 1
    for shard in shards:
        for columns, cells, _, complaints in _parquet_tables(shard, rows, wanted):
            table = Table(header := header or columns, cells, first_row, complaints)
            if set(columns) != set(header):
                raise UserError(f"{shard}: its columns are not those of {shards[0].name}. Are they of one table?")
            if len(table) or (first_row == 1 and shard == shards[-1]):
                yield table
            first_row += len(table)


def _is_text(path: Path) -> bool:
    """Return whether a file begins with UTF-8 that is more than white space and zeros."""
    start = _beginning(path, is_gzip=False)
    return bool(start.strip("\0")) and not SURROGATE.search(start)


def _open_text(path: Path, is_gzip: bool) -> TextIO:
    opened: Callable[..., TextIO] = gzip.open if is_gzip else open
    return opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")


def _beginning(path: Path, is_gzip: bool) -> str:
    """Return the first characters of a text file that are not white space."""
    with reading(path), _open_text(path, is_gzip) as file:
        return file.read(4096).lstrip()


# CSV


def _csv_tables(path: Path, rows: int, wanted: Collection[str]) -> Iterator[Table]:
    lines = csv_rows(path)
    header = [name.strip() for name in next(lines)]
    places = {name: header.index(name) for name in dict.fromkeys(header) if name in wanted}
    first_row, block = 1, list(islice(lines, rows))
    while True:
        complaints = [
            f"row {row}: {len(cells)} cells, expected {len(header)} as in the header"
            for row, cells in enumerate(block, first_row)
            if len(cells) != len(header)
        ]
        if complaints:
            block = [cells + [""] * (len(header) - len(cells)) for cells in block]
        columns: dict[str, Sequence[Any]] = {name: [row[at] for row in block] for name, at in places.items()}
        yield Table(header, columns, first_row, complaints)
        first_row += len(block)
        if not (block := list(islice(lines, rows))):
            return


# JSON


def _json_tables(
    path: Path,
    objects: Callable[[TextIO], Iterator[tuple[Any, str]]],
    is_gzip: bool,
    rows: int,
    wanted: Collection[str],
    columns: Sequence[str] | None,
) -> Iterator[Table]:
    with reading(path), _open_text(path, is_gzip) as file:
        found = objects(file)
        block = list(islice(found, rows))
        named = dict.fromkeys(name for row, _ in block if isinstance(row, dict) for name in row)
        header = list(named) if columns is None else list(columns)
        first_row, names = 1, [name for name in header if name in wanted]
        while True:
            complaints = [
                f"row {row}: {fault or f'is {excerpt(value, 40)}, expected a JSON object'}"
                for row, (value, fault) in enumerate(block, first_row)
                if fault or not isinstance(value, dict)
            ]
            _refuse_late_columns(path, block, first_row, set(wanted) - set(header))
            values = [value if isinstance(value, dict) else {} for value, _ in block]
            yield Table(header, {name: [row.get(name) for row in values] for name in names}, first_row, complaints)
            first_row += len(block)
            if not (block := list(islice(found, rows))):
                return


def _refuse_late_columns(
    path: Path, block: Sequence[tuple[Any, str]], first_row: int, missing: Collection[str]
) -> None:
    """Raise UserError if a row has a column that counts as absent because the first rows lack it."""
    for row, (value, _) in enumerate(block, first_row):
        if isinstance(value, dict) and (late := [name for name in missing if name in value]):
            raise UserError(
                f"{path}: row {row} has the column {late[0]!r}, which the first rows lack. Add it to the first "
                "row, as null."
            )


def _garbled(text: str) -> str:
    """Return the complaint about a JSON text with bytes that are not UTF-8; "" if there are none."""
    return NOT_UTF8 if not text.isascii() and RAW_BYTE.search(text) else ""


def _lines(file: TextIO) -> Iterator[tuple[Any, str]]:
    """Yield the value of each line that is not blank, with a complaint about a line that is not JSON."""
    for line in file:
        if line.strip():
            try:
                yield DECODER.decode(line.strip()), _garbled(line)
            except (ValueError, RecursionError):
                yield None, f"is not JSON: {excerpt(line.strip(), 40)}, expected a JSON object"


def _array_items(file: TextIO) -> Iterator[tuple[Any, str]]:
    """Yield the items of a JSON array one by one. Raises ValueError, which `reading` reports, if damaged."""
    text = file.read(BUFFER).lstrip()
    at, is_end = 1, False
    while True:
        at = SEPARATORS.match(text, at).end()  # type: ignore[union-attr]
        if text.startswith("]", at):
            if (text[at + 1 :] + file.read(BUFFER)).strip():
                raise ValueError("text after the end of the array")
            return
        try:
            value, end = DECODER.raw_decode(text, at)
        except json.JSONDecodeError as fault:
            is_unfinished = fault.pos >= len(text) - UNFINISHED or fault.msg.startswith("Unterminated string")
            if is_end or not is_unfinished:
                raise
            end = len(text)
        if end > len(text) - UNFINISHED and not is_end:
            # An item, or a number such as 1 of 1.5, may continue in the next part. Parts double, for linear time.
            rest = text[at:]
            more = file.read(max(BUFFER, len(rest)))
            text, at, is_end = rest + more, 0, not more
            continue
        item, at = text[at:end], end
        yield value, _garbled(item)


# Parquet


def _parquet_tables(path: Path, rows: int, wanted: Collection[str]) -> Iterator[Table]:
    from pyarrow import parquet

    if (found := content_of(path)) not in ("", "Parquet"):
        raise UserError(f"{path}: the content is {found}, expected Parquet. {CONVERT}")
    # Without a buffer, a column of a whole row group, perhaps the whole file, is read at once.
    with reading(path), parquet.ParquetFile(path, buffer_size=BUFFER) as file:
        header = file.schema_arrow.names
        names = [name for name in dict.fromkeys(header) if name in wanted]
        if not file.metadata.num_rows or any(header.count(name) > 1 for name in names):
            yield Table(header, {name: [] for name in names}, 1, [])  # its columns are examined first
        types = {name: str(file.schema_arrow.field(name).type) for name in names if header.count(name) == 1}
        first_row = 1
        for batch in file.iter_batches(batch_size=rows, columns=names):
            cells: dict[str, Sequence[Any]] = {name: _decoded(batch.column(name).to_pylist()) for name in names}
            for name in names:
                if "id" in name.split("_") and types.get(name) in EXACT:
                    _refuse_inexact(path, cells[name], name, types[name])
            yield Table(header, cells, first_row, [])
            first_row += batch.num_rows


def _refuse_inexact(path: Path, ids: Sequence[float | None], name: str, kind: str) -> None:
    """Raise UserError if floating-point ids are so large that neighbouring integers are stored as one number."""
    if large := [cell for cell in ids if cell is not None and abs(cell) >= EXACT[kind]]:
        raise UserError(
            f"{path}: {len(large):,} cells of {name} such as {large[0]:.0f} are stored as {kind}, which is exact "
            f"only up to {EXACT[kind]:,}. Other battles may have got the same id. Export text or integers."
        )


def _decoded(cells: list[Any]) -> list[Any]:
    """Return cells with bytes decoded to text and everything else unchanged."""
    return [cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell for cell in cells]


def json_line(value: Any) -> str:
    """Return a value as one line of JSON Lines."""
    return json.dumps(value, ensure_ascii=False) + "\n"
