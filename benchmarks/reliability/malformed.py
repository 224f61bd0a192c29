"""Battle files are made malformed on three levels: the cells of a table, the way it is written, and its bytes.

Every function takes a random generator, so a file depends only on the seed of its case.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from pairrank.data.simulation import simulate
from pairrank.data.turns import join_turns

Rng = np.random.Generator

TEXTS = ("prompt", "response_a", "response_b")
MODELS = ("model_a", "model_b")
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")


@dataclass
class Table:
    """A table whose header may repeat a name and whose rows may have any length."""

    header: list[str]
    rows: list[list[Any]]

    def place(self, rng: Rng, names: Sequence[str]) -> tuple[int, int]:
        """Return a random row and the position of a random one of these columns, 0 if none of them is left."""
        there = [at for at, name in enumerate(self.header) if name in names]
        return int(rng.integers(len(self.rows))), int(rng.choice(there)) if there else 0


Change = Callable[[Table, Rng], None]


def simulated_table(kind: str, seed: int) -> Table:
    """Return the table of 30 simulated training battles, or of 12 battles to predict."""
    battles, _ = simulate(30 if kind == "train" else 12, seed=seed, start=0 if kind == "train" else 1_000)
    columns: dict[str, Any] = {"id": battles.id.tolist()}
    if kind == "train":
        columns |= {name: getattr(battles, name).tolist() for name in MODELS}
    columns |= {name: [join_turns(turns) for turns in getattr(battles, name)] for name in TEXTS}
    if kind == "train" and battles.winner is not None:
        columns |= {name: [str(int(w == i)) for w in battles.winner] for i, name in enumerate(WINNERS)}
    return Table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])


def simulated_predictions(seed: int) -> Table:
    """Return predictions of the 30 simulated training battles."""
    battles, _ = simulate(30, seed=seed)
    proba = np.random.default_rng(seed).dirichlet(np.ones(3), 30)
    rows = [[name, *(f"{p:.9g}" for p in row)] for name, row in zip(battles.id, proba, strict=True)]
    return Table(["id", *WINNERS], rows)


def pick(rng: Rng, values: Sequence[Any]) -> Any:
    """Return one of the values, unchanged by numpy."""
    return values[int(rng.integers(len(values)))]


# --- Cells and columns


def column_twice(table: Table, rng: Rng) -> None:
    """Repeat a column at a random position, with other cells."""
    at, to = int(rng.integers(len(table.header))), int(rng.integers(len(table.header) + 1))
    others = [row[at] for row in table.rows][::-1]
    table.header.insert(to, table.header[at])
    for row, other in zip(table.rows, others, strict=True):
        row.insert(to, other)


def column_renamed(table: Table, rng: Rng) -> None:
    """Spell the name of a column in another way."""
    at = int(rng.integers(len(table.header)))
    name = table.header[at]
    spellings = (f" {name} ", name.upper(), f"{name}.1", f"\ufeff{name}", f'"{name}"', "", f"{name}\0", name[:-1])
    table.header[at] = pick(rng, spellings)


def column_removed(table: Table, rng: Rng) -> None:
    """Remove a column."""
    at = int(rng.integers(len(table.header)))
    for row in (table.header, *table.rows):
        del row[at]


def columns_reordered(table: Table, rng: Rng) -> None:
    """Put the columns into another order; the content is unchanged."""
    order = rng.permutation(len(table.header)).tolist()
    table.header[:] = [table.header[at] for at in order]
    for row in table.rows:
        row[:] = [row[at] for at in order]


def column_added(table: Table, rng: Rng) -> None:
    """Add a column that pairrank doesn't know; the content is unchanged."""
    to, name = (
        int(rng.integers(len(table.header) + 1)),
        pick(rng, ("", "Unnamed: 0", "language", "index", "\u202eid")),
    )
    table.header.insert(to, name)
    for number, row in enumerate(table.rows):
        row.insert(to, str(number))


def header_again(table: Table, rng: Rng) -> None:
    """Repeat the header between two rows, as `cat` of two files does."""
    table.rows.insert(int(rng.integers(len(table.rows) + 1)), list(table.header))


def row_again(table: Table, rng: Rng) -> None:
    """Repeat a row, perhaps with another text."""
    row = list(pick(rng, table.rows))
    if rng.random() < 0.5:
        row[-1] = "0"
    table.rows.insert(int(rng.integers(len(table.rows) + 1)), row)


ODD_IDS = (
    "", " ", "10000020", " 10000020 ", "10000021.0", "1e7", "9007199254740993.0", "18446744073709551617", "nan",
    "None", "-0", "0", "٣٤", "a,b", 'a"b', "a\nb", "a\rb", "\u202eabc", "\x1b[31mred", "\0", "=1+1", "id",
    "x" * 5_000, "\ud800", "true",
)  # fmt: skip


def odd_id(table: Table, rng: Rng) -> None:
    """Replace an id."""
    row, at = table.place(rng, ["id"])
    table.rows[row][at] = pick(rng, ODD_IDS)


ODD_WINNERS = (
    "1.0", "0.0", "1.00", "0.000", "true", "False", "TRUE", " 1", "0 ", "", "2", "-1", "0.5", "1e0", "nan", "yes",
    "１", "null", "None", "inf", "1,0", "9" * 400, "\x1b[2J",
)  # fmt: skip


def odd_winner(table: Table, rng: Rng) -> None:
    """Spell a winner cell in another way."""
    row, at = table.place(rng, WINNERS)
    table.rows[row][at] = pick(rng, ODD_WINNERS)


def winners_spelled(table: Table, rng: Rng) -> None:
    """Spell all winners in one other way that means the same."""
    zero, one = pick(rng, (("0.0", "1.0"), ("false", "true"), ("False", "True"), ("FALSE", "TRUE"), (" 0", " 1")))
    for at in (at for at, name in enumerate(table.header) if name in WINNERS):
        for row in table.rows:
            row[at] = {"0": zero, "1": one}.get(row[at], row[at])


ODD_MODELS = (
    "", " ", "nan", "None", "NULL", "N/A", "null", "NaN", " fennel-pro ", "x" * 3_000, "a\nb", "\x1b[31m",
    "\u202emodel", "\0", "../../x", "=cmd()", "\ud83d", "[bold]x[/bold]",
)  # fmt: skip


def odd_model(table: Table, rng: Rng) -> None:
    """Replace a model name."""
    row, at = table.place(rng, MODELS)
    table.rows[row][at] = pick(rng, ODD_MODELS)


CHAT = '[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]'
ODD_CELLS = (
    "", " ", "null", "[]", "[null]", '["a", null]', "[1]", "[true]", "[[]]", '[["a"]]', "{}", '{"a": 1}',
    '"text"', "text", "1", "NaN", "[NaN]", "[1e999]", '["a"', '["a",]', "['a']", '["a"]]', '["\\ud83d"]',
    '["\\ud83d\\ude00"]', '["\\ude00\\ud83d"]', '["\\x41"]', '["a\nb"]', '["a\tb"]', '["\\u0000"]', '["\0"]',
    "[" * 3_000, "[" * 3_000 + "]" * 3_000, '{"a":' * 2_000, "9" * 5_000, "[" + "9" * 5_000 + "]", CHAT,
    '["' + "a " * 30_000 + '"]', '["' + "e\u0301\u0316" * 4_000 + '"]', '["\ud800"]', '["\u2028"]',
    '["\x1b]8;;http://x\x07y\x1b]8;;\x07"]', '["<script>1</script>"]', '["a", "b", "c"]', '[""]',
    "[" + '"",' * 999 + '""]', '["a"] ', ' ["a"]', '\ufeff["a"]', "[,]", "[-]", '["\\"]', '["a" "b"]',
)  # fmt: skip


def odd_cell(table: Table, rng: Rng) -> None:
    """Replace the text of a battle."""
    row, at = table.place(rng, TEXTS)
    table.rows[row][at] = pick(rng, ODD_CELLS)


def cell_damaged(table: Table, rng: Rng) -> None:
    """Cut a text, or change one of its characters."""
    row, at = table.place(rng, TEXTS)
    cell = str(table.rows[row][at])
    to = int(rng.integers(len(cell) + 1))
    inserted = pick(rng, ("", '"', "\\", "]", "[", ",", "\0", "\n", "\u202e", "\ud83d"))
    table.rows[row][at] = cell[:to] + inserted + (cell[to + 1 :] if rng.random() < 0.6 else "")


def chat_everywhere(table: Table, rng: Rng) -> None:
    """Write every text as a list of chat messages."""
    for at in (at for at, name in enumerate(table.header) if name in TEXTS):
        role = "user" if table.header[at] == "prompt" else "assistant"
        for row in table.rows:
            try:
                turns = json.loads(row[at])
                row[at] = json.dumps([{"role": role, "content": turn} for turn in turns])
            except (ValueError, TypeError, RecursionError):
                continue
    del rng


def row_of_other_length(table: Table, rng: Rng) -> None:
    """Cut a row, or add cells to it."""
    row = pick(rng, table.rows)
    if rng.random() < 0.5:
        del row[int(rng.integers(len(row))) :]
    else:
        row += ["1"] * int(rng.integers(1, 4))


def cells_shifted(table: Table, rng: Rng) -> None:
    """Move the cells of a row by one, as an unquoted comma does."""
    row = pick(rng, table.rows)
    row.insert(int(rng.integers(len(row))), "x")
    row.pop()


def rows_removed(table: Table, rng: Rng) -> None:
    """Leave 0 to 2 rows."""
    del table.rows[int(rng.integers(3)) :]


CHANGES: tuple[Change, ...] = (
    column_twice, column_renamed, column_removed, columns_reordered, column_added, header_again, row_again,
    odd_id, odd_winner, winners_spelled, odd_model, odd_cell, odd_cell, odd_cell, cell_damaged, chat_everywhere,
    row_of_other_length, cells_shifted, rows_removed,
)  # fmt: skip


ODD_NUMBERS = (
    "", "nan", "inf", "-inf", "1e-400", "1e400", "-0.1", "1.1", "1", "0", "0.333", "33%", "0,5", "１", "0x1",
    "1_0", "true", " 0.2 ", "9" * 400, "--1", "\0", ".5.", "1e",
)  # fmt: skip


def odd_number(table: Table, rng: Rng) -> None:
    """Replace a probability."""
    row, at = table.place(rng, WINNERS)
    table.rows[row][at] = pick(rng, ODD_NUMBERS)


def numbers_rounded(table: Table, rng: Rng) -> None:
    """Round all probabilities."""
    digits = int(rng.integers(1, 5))
    for row in table.rows:
        row[1:4] = [f"{float(p):.{digits}f}" if p.replace(".", "").isdigit() else p for p in row[1:4]]


def rows_shuffled(table: Table, rng: Rng) -> None:
    """Put the rows into another order."""
    table.rows[:] = [table.rows[at] for at in rng.permutation(len(table.rows)).tolist()]


PREDICTION_CHANGES: tuple[Change, ...] = (
    column_twice, column_renamed, column_removed, columns_reordered, column_added, header_again, row_again,
    odd_id, odd_number, odd_number, odd_number, numbers_rounded, rows_shuffled, row_of_other_length,
    cells_shifted, rows_removed,
)  # fmt: skip


# --- Writing


def csv_bytes(table: Table, rng: Rng, plain: bool) -> bytes:
    """Return the table as CSV: plain, or with unusual delimiters, quotes, line ends and encodings."""
    text = io.StringIO(newline="")
    options: dict[str, Any] = {"lineterminator": "\n"}
    encoding, mark = "utf-8", ""
    if not plain:
        options["lineterminator"] = pick(rng, ("\n", "\n", "\r\n", "\r", "\n\n", " \n", "\n\0", "\u2028"))
        options["quoting"] = pick(rng, (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
        options["delimiter"] = pick(rng, (",", ",", ",", ",", ";", "\t", "|"))
        if rng.random() < 0.15:
            options |= {"doublequote": False, "escapechar": "\\"}
        if rng.random() < 0.05:
            options["quotechar"] = "'"
        encodings = (
            "utf-8",
            "utf-8",
            "utf-8",
            "latin-1",
            "utf-16",
            "utf-16-le",
            "utf-32",
            "cp1252",
            "utf-7",
            "cp037",
        )
        encoding = pick(rng, encodings)
        mark = pick(rng, ("", "", "", "\ufeff", "\ufeff\ufeff"))
    writer = csv.writer(text, **options)
    writer.writerow(table.header)
    writer.writerows(table.rows)
    errors = "surrogatepass" if encoding.startswith("utf") and encoding != "utf-7" else "replace"
    return (mark + text.getvalue()).encode(encoding, errors)


def gzip_bytes(content: bytes, rng: Rng, plain: bool) -> bytes:
    """Return gzip of the content: one stream, or several, padded, damaged or of another kind."""
    if plain:
        return gzip.compress(content, mtime=0)
    half = int(rng.integers(len(content) + 1))
    one, two = gzip.compress(content[:half], mtime=0), gzip.compress(content[half:], mtime=0)
    whole = gzip.compress(content, mtime=0)
    at = int(rng.integers(10, len(whole)))
    kinds = {
        "two streams": one + two,
        "padded": whole + b"\0" * 512,
        "followed by text": whole + b"trailing text",
        "cut": whole[:at],
        "second stream cut": one + two[: max(1, len(two) // 2)],
        "checksum changed": whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
        "length changed": whole[:-1] + bytes([whole[-1] ^ 1]),
        "header changed": b"\x1f\x8b\x07" + whole[3:],
        "twice compressed": gzip.compress(whole, mtime=0),
        "not compressed": content,
        "empty stream": gzip.compress(b"", mtime=0),
        "no bytes": b"",
    }
    return pick(rng, list(kinds.values()))


def parquet_bytes(table: Table, rng: Rng, plain: bool) -> bytes:
    """Return the table as Parquet: plain, or with unusual types, nested lists, dictionaries and compression."""
    import pyarrow as pa
    from pyarrow import parquet

    width = len(table.header)
    cells = [[row[at] if at < len(row) else None for row in table.rows] for at in range(width)]
    arrays = [_array(name, column, rng, plain) for name, column in zip(table.header, cells, strict=True)]
    options: dict[str, Any] = {}
    if not plain:
        options = {
            "compression": pick(rng, ("none", "snappy", "gzip", "zstd")),
            "row_group_size": pick(rng, (1, 7, 1_000)),
            "use_dictionary": bool(rng.integers(2)),
            "data_page_version": pick(rng, ("1.0", "2.0")),
        }
    target = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, names=table.header), target, **options)
    return target.getvalue()


def _array(name: str, cells: list[Any], rng: Rng, plain: bool) -> Any:
    """Return one column, of an unusual type that can hold its cells or, failing that, of text."""
    import pyarrow as pa

    texts = [None if cell is None else str(cell).encode("utf-8", "replace").decode() for cell in cells]
    if not plain and rng.random() < 0.4:
        try:
            return pick(rng, list(_typed(name).values()))(texts)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, pa.ArrowException):
            pass
    return pa.array(texts, pa.string())


def _typed(name: str) -> dict[str, Callable[[list[str | None]], Any]]:
    """Return functions that make an array of some type of a column's texts."""
    import pyarrow as pa

    def numbers(kind: Any, make: Callable[[str], Any]) -> Callable[[list[str | None]], Any]:
        return lambda texts: pa.array([None if text is None else make(text) for text in texts], kind)

    def turns(texts: list[str | None]) -> Any:
        return pa.array([None if text is None else json.loads(text) for text in texts], pa.list_(pa.string()))

    def messages(texts: list[str | None]) -> Any:
        role = "user" if name == "prompt" else "assistant"
        lists = [[{"role": role, "content": turn} for turn in json.loads(text or "[]")] for text in texts]
        return pa.array(lists, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))

    kinds: dict[str, Callable[[list[str | None]], Any]] = {
        "large text": lambda texts: pa.array(texts, pa.large_string()),
        "dictionary": lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
        "bytes": lambda texts: pa.array([text and text.encode() for text in texts], pa.binary()),
        "Latin-1": lambda texts: pa.array(
            [text and text.encode("latin-1", "replace") for text in texts], pa.binary()
        ),
        "nulls": lambda texts: pa.nulls(len(texts)),
        "some nulls": lambda texts: pa.array(
            [text if i % 5 else None for i, text in enumerate(texts)], pa.string()
        ),
        "structs": lambda texts: pa.array([{"text": text} for text in texts]),
        "time": lambda texts: pa.array(range(len(texts)), pa.timestamp("us")),
    }
    if name in TEXTS:
        return kinds | {"turns": turns, "turns again": turns, "messages": messages}
    return kinds | {
        "int64": numbers(pa.int64(), int),
        "uint64": numbers(pa.uint64(), int),
        "int8": numbers(pa.int8(), int),
        "float64": numbers(pa.float64(), float),
        "float32": numbers(pa.float32(), float),
        "large float64": numbers(pa.float64(), lambda text: float(text) + 2.0**53 if name == "id" else float(text)),
        "decimal": numbers(pa.decimal128(30, 2), Decimal),
        "boolean": numbers(pa.bool_(), lambda text: {"0": False, "1": True}[text]),
        "lists": lambda texts: pa.array([[text] for text in texts]),
    }


# --- Bytes


def bytes_damaged(content: bytes, rng: Rng) -> bytes:
    """Flip, remove, repeat, insert or cut bytes."""
    if not content:
        return content
    at = int(rng.integers(len(content)))
    length = int(rng.integers(1, 200))
    kind = int(rng.integers(8))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + content[at + length :]
    if kind == 2:
        return content[: at + length] + content[at:]
    if kind == 3:
        return content[:at] + b"\0" * length + content[at + length :]
    if kind == 4:
        inserted = pick(rng, (b'"', b"\r", b"\n", b"\xff", b"\xc3", b"\0", b",", b"\xed\xa0\x80", b"\xef\xbb\xbf"))
        return content[:at] + inserted + content[at:]
    changed = bytearray(content)
    for place in rng.integers(len(content), size=pick(rng, (1, 1, 3, 30))):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


OTHER_CONTENT = (
    b"", b"\n", b"\n" * 20_000, b"\0" * 50_000, b"\xff\xfe", b"PK\x03\x04" + b"\0" * 100,
    b"SQLite format 3\0" + b"\0" * 100, b"PAR1PAR1", b"PAR1" + b"\0" * 60 + b"PAR1",
    b"PAR1" + b"\xff\xff\xff\x7fPAR1", b'{"id": 1}\n' * 50, b'[{"id": 1}]',
    b"<!DOCTYPE html><html><body>Sign in</body></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", b"id\n",
    b"id,prompt,response_a,response_b\n", b'"', b'"' * 999, b",\n" * 5_000, b"x" * 300_000, b"\x80\x04\x95.",
    b"id,prompt,response_a,response_b\n" + b'"' + b"a" * 100_000,
)  # fmt: skip
"""Content that is no table of battles."""


def other_content(rng: Rng) -> bytes:
    """Return content that is no table of battles."""
    return pick(rng, OTHER_CONTENT)
