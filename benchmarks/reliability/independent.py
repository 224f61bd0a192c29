"""A second reading of battle and prediction files, which shares no code with pairrank's.

It says what a file contains, which of its rows are unusual, and whether it can be read at all. pairrank may refuse
any file. If it reads one, every row that is not unusual must be the same, and the others must be reported.
"""

import io
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from benchmarks.reliability.malformed import MODELS, TEXTS, WINNERS

MISSING_NAMES = frozenset({"", "nan", "none", "null", "n/a", "na", "<na>", "unknown"})
"""Spellings of a model name that may be read as a missing one."""


class UnreadableError(ValueError):
    """The file has no defensible reading, so pairrank must refuse it."""


@dataclass
class Row:
    """One row of a battle file."""

    number: int
    """Its number among the rows that are not blank, from 1."""
    id: str
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    winner: int | None = None
    is_header: bool = False
    """Whether the row repeats the header."""
    unusual: list[str] = field(default_factory=list)
    """What a message must report about the row."""


@dataclass
class Reading:
    """What a battle file contains."""

    rows: list[Row]
    columns: list[str]
    faults: list[str] = field(default_factory=list)
    """What a message must report about the file as a whole."""


Cells = tuple[list[str], list[list[Any]]]
"""The header and the rows of a table."""


def read_cells(content: bytes) -> Cells:
    """Return header and rows of a file, whose format its content tells. Raises UnreadableError."""
    if content.startswith(b"PAR1"):
        return _parquet_cells(content)
    if content.startswith(b"\x1f\x8b"):
        content = _gunzip(content)
        if content.startswith((b"PAR1", b"\x1f\x8b")):
            raise UnreadableError("a compressed file inside a compressed file")
    return _csv_cells(_decode(content))


def read_battle_file(content: bytes) -> Reading:
    """Return what a battle file contains. Raises UnreadableError."""
    header, rows = read_cells(content)
    at = _columns(header, ("id", *TEXTS, *MODELS, *WINNERS), required=("id", *TEXTS))
    reading = Reading([], [name for name in (*MODELS, *WINNERS) if name in at])
    if len(reading.columns) not in (0, 2, 3, 5):
        reading.faults.append("some of the columns of models or winners are missing")
    seen: set[str] = set()
    for number, cells in enumerate(rows, 1):
        row = _battle(number, cells, header, at)
        if row.id in seen:
            row.unusual.append("its id occurred before")
        seen.add(row.id)
        reading.rows.append(row)
    return reading


def read_prediction_file(content: bytes) -> dict[str, tuple[float, float, float]]:
    """Return three probabilities by id. Raises UnreadableError for a file that is not valid."""
    header, rows = read_cells(content)
    at = _columns(header, ("id", *WINNERS), required=("id", *WINNERS))
    found: dict[str, tuple[float, float, float]] = {}
    for cells in rows:
        if len(cells) != len(header):
            raise UnreadableError("a row of another length")
        name = mend(_without_decimals(str(cells[at["id"]]).strip()))
        try:
            a, b, tie = (float(cells[at[column]]) for column in WINNERS)
        except (TypeError, ValueError) as error:
            raise UnreadableError("not a number") from error
        if not name or name in found:
            raise UnreadableError("an id is missing or repeated")
        if not all(0 <= p <= 1 for p in (a, b, tie)) or abs(a + b + tie - 1) > 0.2:
            raise UnreadableError("not probabilities")
        found[name] = (a, b, tie)
    return found


# --- Bytes to cells


def _gunzip(content: bytes) -> bytes:
    parts, rest = [], content
    while rest.strip(b"\0"):
        stream = zlib.decompressobj(wbits=31)
        try:
            parts.append(stream.decompress(rest))
        except zlib.error as error:
            raise UnreadableError(f"gzip: {error}") from error
        if not stream.eof:
            raise UnreadableError("gzip: cut")
        rest = stream.unused_data
    return b"".join(parts)


def _decode(content: bytes) -> str:
    for mark, encoding in ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as error:
                raise UnreadableError(f"damaged {encoding}") from error
    return content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _csv_cells(text: str) -> Cells:
    rows = split_csv(text)
    if not rows:
        raise UnreadableError("empty")
    return [name.strip() for name in rows[0]], rows[1:]


def split_csv(text: str) -> list[list[str]]:
    """Return the rows of CSV text that are not blank. Raises UnreadableError if a quote is never closed."""
    rows: list[list[str]] = []
    row: list[str] = []
    cell: list[str] = []
    state = "start"  # of a cell; then "plain", "quoted", or "closed" after a closing quote
    started = False  # whether anything of the row has been read
    for character in text.replace("\r\n", "\n") if '"' not in text else text:
        if state == "quoted":
            if character == '"':
                state = "closed"
            else:
                cell.append(character)
            continue
        if character == '"' and state in ("start", "closed"):
            if state == "closed":
                cell.append('"')
            state, started = "quoted", True
        elif character == ",":
            row.append("".join(cell))
            cell, state, started = [], "start", True
        elif character in "\r\n":
            if started:
                rows.append([*row, "".join(cell)])
            row, cell, state, started = [], [], "start", False
        else:
            cell.append(character)
            state, started = "plain", True
    if state == "quoted":
        raise UnreadableError("a quote is never closed")
    return [*rows, [*row, "".join(cell)]] if started else rows


def _parquet_cells(content: bytes) -> Cells:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
        header = list(table.column_names)
        columns = [table.column(at).to_pylist() for at in range(len(header))]
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise UnreadableError(f"Parquet: {type(error).__name__}") from error
    return header, [list(row) for row in zip(*columns, strict=True)]


def _columns(header: list[str], known: Sequence[str], required: Sequence[str]) -> dict[str, int]:
    if missing := [name for name in required if name not in header]:
        raise UnreadableError(f"missing {', '.join(missing)}")
    if repeated := [name for name in known if header.count(name) > 1]:
        raise UnreadableError(f"repeated {', '.join(repeated)}")
    return {name: header.index(name) for name in known if name in header}


# --- Cells to battles


def _battle(number: int, cells: list[Any], header: list[str], at: dict[str, int]) -> Row:
    def cell(name: str) -> Any:
        return cells[at[name]] if at[name] < len(cells) else ""

    name = _plain(cell("id"))
    row = Row(number, mend(_without_decimals(name or "")))
    if len(cells) != len(header):
        row.unusual.append("its length differs from the header's")
    if name is None or not row.id:
        row.unusual.append("its id is missing or inexact")
    row.is_header = all(cell(column) == column for column in ("id", *TEXTS))
    if any(
        isinstance(each, str) and _has_raw_bytes(each) for each in (cells[i] for i in at.values() if i < len(cells))
    ):
        row.unusual.append("it contains bytes that are not UTF-8")
    for column in TEXTS:
        turns, fault = read_turns(cell(column))
        row.texts[column] = turns
        if fault:
            row.unusual.append(f"{column} {fault}")
    if len({len(turns) for turns in row.texts.values()}) > 1:
        row.unusual.append("its texts have different numbers of turns")
    for column in (column for column in MODELS if column in at):
        row.models[column] = mend(_plain(cell(column)) or "")
    if all(column in at for column in WINNERS):
        flags = [_flag(cell(column)) for column in WINNERS]
        row.winner = flags.index(1) if sorted(map(str, flags)) == ["0", "0", "1"] else None
        if row.winner is None:
            row.unusual.append("it has no clear winner")
    return row


def read_turns(cell: Any) -> tuple[tuple[str, ...], str]:
    """Return the turns of a cell and what is unusual about it."""
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError:
            return (), "is not UTF-8"
    if isinstance(cell, str):
        try:
            cell = json.loads(cell, strict=False)
        except (ValueError, RecursionError):
            return (), "is not JSON"
    if not isinstance(cell, list):
        return (), "is not a list"
    if any(turn is not None and not isinstance(turn, str) for turn in cell):
        return (), "contains something else than text"
    return tuple(mend(turn or "") for turn in cell) or ("",), ""


def mend(text: str) -> str:
    """Return the text with surrogate pairs joined and lone surrogates replaced, the one silent repair."""
    found, at = [], 0
    while at < len(text):
        code = ord(text[at])
        after = ord(text[at + 1]) if at + 1 < len(text) else 0
        if 0xD800 <= code < 0xDC00 and 0xDC00 <= after < 0xE000:
            found.append(chr(0x10000 + ((code - 0xD800) << 10) + (after - 0xDC00)))
            at += 1
        else:
            found.append("\ufffd" if 0xD800 <= code < 0xE000 else text[at])
        at += 1
    return "".join(found)


def _plain(cell: Any) -> str | None:
    """Return an id or a name as text; None if its text is not certain."""
    if isinstance(cell, bytes):
        try:
            cell = cell.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(cell, str):
        return cell.strip()
    if cell is None or isinstance(cell, list | dict):
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        return str(cell)
    if isinstance(cell, float) and not (math.isfinite(cell) and abs(cell) < 2**53):
        return None
    return str(int(cell)) if cell == int(cell) else str(cell)


def _without_decimals(name: str) -> str:
    """Return 30192 for 30192.0 and 30192., as programs write ids that they hold as numbers."""
    whole, point, decimals = name.partition(".")
    is_whole = point and whole.removeprefix("-").isdecimal() and not decimals.strip("0")
    return whole if is_whole else name


def _flag(cell: Any) -> int | None:
    """Return 0 or 1 for a winner cell, whatever its spelling; None for anything else."""
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    text = str(cell).strip().lower()
    words = {"true": 1, "false": 0}
    if text in words:
        return words[text]
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number in (0, 1) else None


def _has_raw_bytes(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


# --- Comparison


@dataclass
class Read:
    """What pairrank read: one row per battle, and its messages about repairs."""

    ids: list[str]
    columns: dict[str, list[Any]]
    """Texts as lists of turns, names, and `winner`; a column is absent if there is none."""
    repairs: list[str]


def differences(expected: Reading, read: Read) -> list[str]:
    """Return how pairrank's reading differs from this one without a message."""
    found = [fault for fault in expected.faults if not read.repairs]
    places = {name: at for at, name in enumerate(read.ids)}
    if len(places) != len(read.ids):
        found.append("two battles have the same id")
    order: list[int] = []
    lost = 0
    for row in expected.rows:
        told = _is_told(row, read.repairs)
        if row.is_header and row.id in read.ids:
            found.append(f"row {row.number}: the repeated header is a battle")
        if row.unusual and not told:
            found.append(f"row {row.number}, id {row.id[:40]!r}: {row.unusual[0]}, and no message says so")
        at = places.pop(row.id, None)
        if at is None:
            lost += 1
            if not row.unusual:
                found.append(f"row {row.number}, id {row.id[:40]!r}: not read")
            continue
        order.append(at)
        if not row.unusual:
            found += _row_differences(row, read, at)
    if len(places) > lost:
        found.append(f"battles that the file doesn't contain: {list(places)[:3]!r}")
    if order != sorted(order):
        found.append("the battles are in another order")
    return found


def _is_told(row: Row, repairs: Sequence[str]) -> bool:
    """Return whether a message names the row, or might: an id that is escaped cannot be looked for."""
    if not row.id.isascii() or not row.id.isalnum() or len(row.id) > 40:
        return bool(repairs)
    return any(f"row {row.number}" in line or row.id in line for line in repairs)


def _row_differences(row: Row, read: Read, at: int) -> list[str]:
    expected: dict[str, Any] = {**row.texts, **row.models}
    if row.winner is not None:
        expected["winner"] = row.winner
    found = []
    for name, value in expected.items():
        column = read.columns.get(name)
        got = None if column is None else tuple(column[at]) if name in TEXTS else column[at]
        if name in MODELS and got == "" and value.lower() in MISSING_NAMES:
            continue
        if got != value and not (got is None and read.repairs and name not in TEXTS):
            found.append(f"row {row.number}: {name} is {str(got)[:60]!r}, expected {str(value)[:60]!r}")
    return found
