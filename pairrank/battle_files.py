"""The only reader of battle files: parsing, cleaning, and one message with every complaint about a file."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pairrank.battles import MODELS, TEXTS, WINNERS, Battles, concatenate, object_array
from pairrank.errors import UserError, gather
from pairrank.files import written_whole
from pairrank.turns import join_turns, parse_turns

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".csv.gz", ".parquet")
Damage = Literal["raise", "repair"]


def read_battles(path: str | Path, damage: Damage = "raise") -> Battles:
    """Read .csv, .csv.gz or .parquet in the competition's format.

    With `damage="raise"` (training data) every complaint about the file is gathered into one UserError. With
    `"repair"` (battles to predict, where one lost row loses a whole submission) damaged rows are mended and
    listed in `repairs`; only a file that cannot be read at all, or lacks a text column, still raises.
    """
    parts: list[Battles] = []
    complaints: list[str] = []
    for part, found in _parse_file(Path(path), damage, rows=20_000):
        parts.append(part)
        complaints += found
    battles = concatenate(parts)
    ids = Counter(battles.id.tolist())
    twice = {i: count for i, count in ids.items() if count > 1}
    complaints += [f"id {i}: stands in {count} rows, expected one" for i, count in twice.items()]
    if complaints and damage == "raise":
        raise gather(str(path), complaints, "Mend or remove these rows; `Dataset/README.md` describes the format.")
    if twice:
        first = np.unique(battles.id.astype(str), return_index=True)[1]
        battles = battles.take(np.sort(first))
    return replace(battles, repairs=tuple(complaints))


def stream_battles(path: str | Path, rows: int = 2_000) -> Iterator[Battles]:
    """The battles to predict of a file of any size, `rows` at a time, repaired, in constant memory."""
    for part, complaints in _parse_file(Path(path), "repair", rows):
        yield replace(part, repairs=tuple(complaints))


def write_battles(battles: Battles, path: Path) -> None:
    """Write a .csv in the competition's format."""
    columns: dict[str, Any] = {"id": battles.id}
    if battles.model_a is not None and battles.model_b is not None:
        columns |= {"model_a": battles.model_a, "model_b": battles.model_b}
    columns |= {name: [join_turns(turns) for turns in getattr(battles, name)] for name in TEXTS}
    if battles.winner is not None:
        columns |= {name: (battles.winner == i).astype(int) for i, name in enumerate(WINNERS)}
    with written_whole(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _parse_file(path: Path, damage: Damage, rows: int) -> Iterator[tuple[Battles, list[str]]]:
    """Battles and complaints, `rows` at a time; at least one part, even of an empty file."""
    seen = 0
    for frame in _frames(path, rows):
        if seen == 0:
            _check_columns(path, list(frame.columns), damage)
        yield _parse(frame, first_row=seen)
        seen += len(frame)
    if seen == 0 and damage == "raise":
        raise UserError(f"{path}: no battles in it. Expected one row per battle below the header.")


def _frames(path: Path, rows: int) -> Iterator["pd.DataFrame"]:
    """Data frames of raw cells as they stand in the file, `rows` at a time."""
    import pandas as pd

    if not path.is_file():
        raise UserError(f"{path}: no such file. Give a folder with train.csv and test.csv, or a file's path.")
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: cannot read this kind of file. Expected one of {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            with parquet.ParquetFile(path) as file:
                schema = file.schema_arrow.empty_table()
                yield schema.to_pandas()
                for batch in file.iter_batches(batch_size=rows):
                    yield batch.to_pandas()
        else:
            options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8"}
            with pd.read_csv(path, chunksize=rows, encoding_errors="replace", **options) as chunks:
                yield from chunks
    except pd.errors.EmptyDataError:
        raise UserError(f"{path}: the file is empty. Expected a header and one row per battle.") from None
    except (pd.errors.ParserError, OSError, EOFError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: damaged file ({what}). Download or export it again.") from error


def _check_columns(path: Path, found: list[str], damage: Damage) -> None:
    expected = ["id", *TEXTS, *(WINNERS if damage == "raise" and set(WINNERS) & set(found) else ())]
    missing = [f"missing column {name!r}" for name in expected if name not in found]
    if missing:
        raise gather(str(path), missing, f"Found the columns {', '.join(map(repr, found)) or 'none'}.")


def _parse(frame: "pd.DataFrame", first_row: int) -> tuple[Battles, list[str]]:
    """One frame of raw cells into battles, with a complaint for everything that had to be mended."""
    complaints: list[str] = []
    ids = [_id(cell) for cell in frame["id"].tolist()]
    for row, name in enumerate(ids):
        if not name:
            ids[row] = f"row-{first_row + row + 1}"
            complaints.append(f"row {first_row + row + 1}: no id, named {ids[row]!r}")
    texts: dict[str, list[tuple[str, ...]]] = {}
    for column in TEXTS:
        parsed = [parse_turns(cell) for cell in frame[column].tolist()]
        texts[column] = [turns for turns, _ in parsed]
        complaints += [f"id {i}: {column} {what}" for i, (_, what) in zip(ids, parsed, strict=True) if what]
    for i, lengths in zip(ids, zip(*(map(len, texts[c]) for c in TEXTS), strict=True), strict=True):
        if len(set(lengths)) > 1:
            counts = ", ".join(f"{n} in {c}" for n, c in zip(lengths, TEXTS, strict=True))
            complaints.append(f"id {i}: unequal turns ({counts}), expected as many answers as prompts")
    columns: dict[str, Any] = {name: object_array(values) for name, values in texts.items()}
    if set(MODELS) <= set(frame.columns):
        columns |= {name: object_array([_id(cell) for cell in frame[name].tolist()]) for name in MODELS}
    if set(WINNERS) <= set(frame.columns):
        columns["winner"], found = _winners(frame, ids)
        complaints += found
    return Battles(id=object_array(ids), **columns), complaints


def _winners(frame: "pd.DataFrame", ids: list[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """(n,) winners, and a complaint for each row in which not exactly one of three columns is 1."""
    cells = [[str(cell).strip() for cell in frame[name].tolist()] for name in WINNERS]
    won = np.array([[cell in {"1", "1.0", "True", "true"} for cell in column] for column in cells]).T
    lost = np.array([[cell in {"0", "0.0", "False", "false"} for cell in column] for column in cells]).T
    sound = (won.sum(axis=1) == 1) & (won | lost).all(axis=1) if len(ids) else np.zeros(0, dtype=bool)
    complaints = [
        f"id {ids[row]}: winner columns are {', '.join(column[row] or 'empty' for column in cells)}, "
        "expected a single 1 and two 0"
        for row in np.flatnonzero(~sound)
    ]
    winners = won.argmax(axis=1) if len(ids) else np.zeros(0)
    return winners.astype(np.int64), complaints


def _id(cell: Any) -> str:
    """A cell as text; ids that a parquet file holds as floats come out as whole numbers, null as ""."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()
