"""Battle files of every schema are read here, and all complaints about a file are reported in one message."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, concatenate
from pairrank.data.cells import name_of
from pairrank.data.formats.base import Schema
from pairrank.data.formats.registry import all_columns, find_schema, nearest, own_errors, recognise
from pairrank.data.formats.vote import UNCLEAR
from pairrank.data.seen_ids import SeenIds
from pairrank.data.tables import Table, read_tables
from pairrank.data.turns import LONGEST
from pairrank.errors import UserError, combined_error, excerpt, shorten

REMEDY = "`Dataset/README.md` describes the schemas."
"""The last sentence of messages about a file's columns and cells."""

MOST_COMPLAINTS = 1_000
"""Complaints about one file that are kept in full; the others are counted."""

SAMPLE = 200
"""First rows by which the schema of a file is recognised, and the columns of a JSON file."""

BLOCK = 20_000
"""Rows that are parsed together when a whole file is read."""

logger = logging.getLogger(__name__)

Damage = Literal["raise", "repair", "drop"]
"""Handling of damaged rows: an error, a repair, or a repair that leaves out battles with an unclear winner."""

Source = Callable[[int, Collection[str], Sequence[str] | None], Iterator[Table]]
"""Yields the tables of a file, or of columns in memory, from the first one at each call.

The arguments are the number of rows of a table, the wanted columns, and all columns or None, as in `read_tables`.
"""


@dataclass
class FileReport:
    """What was found in a file while it was read."""

    place: str
    """The path of the file, or what else was read."""
    schema: type[Schema]
    rows: int = 0
    """Rows of the file, without the header."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows without a battle by the reason; in training files also those without a winner."""
    undecided: Counter[str] = field(default_factory=Counter)
    """Rows without a winner, which are kept because they are to be predicted, by the reason."""
    missing_names: Counter[str] = field(default_factory=Counter)
    """Model names by the spelling of a missing value in their place."""
    long_texts: int = 0
    """Texts of which the middle is neither measured nor tokenised."""

    def lines(self) -> list[str]:
        """Return one line for each thing that a reader of the file must know; none for a plain Kaggle file."""
        found = []
        if self.schema.name != "kaggle" or self.dropped:
            found.append(f"{self.place}: schema {self.schema.name} ({self.schema.about}), {self.rows:,} rows")
        for what, counted in (("dropped", self.dropped), ("without a winner", self.undecided)):
            if counted:
                reasons = ", ".join(f"{reason} ({count:,})" for reason, count in counted.most_common())
                found[-1] += f"; {what} {counted.total():,}: {shorten(reasons, 500)}"
        if self.missing_names:
            names = ", ".join(sorted(self.missing_names))
            count = self.missing_names.total()
            found.append(f"{self.place}: {count} model names are {names} and count as unknown")
        if self.long_texts:
            found.append(
                f"{self.place}: {self.long_texts} texts of over a million characters; their middle is unused"
            )
        return found


def read_battles(path: str | Path, damage: Damage = "raise", schema: str = "") -> Battles:
    """Read a file of battles; its columns tell the schema, and its content the kind of file.

    With `damage="raise"`, for training data, all complaints about the file are raised in one UserError. With
    `"repair"`, for battles to predict, damaged rows are repaired and listed in `repairs`, texts that are missing or
    damaged are read as empty, and rows without a winner are kept, because one missing row invalidates a submission.
    A file in which no row has a winner is read as battles to predict in either case. A file that cannot be read, or
    whose columns no schema has, raises UserError in both cases. `schema` names the schema of a file whose columns
    fit several.
    """
    parts = _parse_file(Path(path), damage, BLOCK, schema)
    return collect_battles(parts, str(path), damage)


def collect_battles(found_parts: Iterable[tuple[Battles, list[str]]], place: str, damage: Damage) -> Battles:
    """Return the battles that `parse_tables` yields as one table; `read_battles` describes the errors."""
    parts: list[Battles] = []
    complaints: list[str] = []
    count = 0
    for part, found in found_parts:
        count += len(found)
        complaints += found[: MOST_COMPLAINTS - len(complaints)]
        if not count or damage != "raise":
            parts.append(part)
    if count and damage == "raise":
        raise combined_error(place, complaints, f"Correct or remove these rows. {REMEDY}", count)
    battles = concatenate(parts)
    if count > len(complaints):
        complaints.append(f"{count - len(complaints):,} more repairs")
    if warning := battles.label_warning():
        logger.warning("%s: %s", place, warning)
    if not len(battles) and damage == "raise":
        raise UserError(f"{place}: contains no battles. Expected a header and one row per battle. {REMEDY}")
    return replace(battles, repairs=tuple(complaints))


def read_training_battles(path: str | Path, schema: str = "") -> Battles:
    """Read a file of battles with winners. Raises UserError with every complaint, or if there are no winners."""
    battles = read_battles(path, schema=schema)
    if battles.winner is None:
        columns = ", ".join(schema_of(Path(path), schema).verdict)
        raise UserError(
            f"{path}: the file contains no winners. Training needs the columns {columns}. Is this a test file?"
        )
    return battles


def stream_battles(
    path: str | Path, rows: int = 2_000, damage: Literal["repair", "drop"] = "repair", schema: str = ""
) -> Iterator[Battles]:
    """Yield the battles of a file of any size in parts of `rows` rows, repaired.

    Only the ids of earlier parts are kept in memory. If the winner of a battle is unclear, its whole part has no
    winners; with "drop", that battle alone is left out, unless no battle of the file has a winner. There is at
    least one part. A part has fewer rows, perhaps none, if ids are repeated.
    """
    for part, complaints in _parse_file(Path(path), damage, rows, schema):
        yield replace(part, repairs=tuple(complaints))


def schema_of(path: Path, name: str = "") -> type[Schema]:
    """Return the schema of a file, which its columns tell if `name` is ""; raises UserError if none fits."""
    sample = next(read_tables(path, SAMPLE, all_columns()))
    return type(_schema_of(str(path), sample, "repair", name))


def fits(path: Path, name: str) -> bool:
    """Return whether a file has the columns that a schema requires; raises UserError for an unknown schema."""
    return set(find_schema(name).required) <= set(next(read_tables(path, SAMPLE, all_columns())).columns)


def _parse_file(path: Path, damage: Damage, rows: int, name: str) -> Iterator[tuple[Battles, list[str]]]:
    yield from parse_tables(partial(read_tables, path), str(path), damage, rows, name)


def parse_tables(
    source: Source, place: str, damage: Damage, rows: int, name: str
) -> Iterator[tuple[Battles, list[str]]]:
    """Yield battles and complaints in parts of `rows` rows, at least one, with only the first row of every id.

    `place` is the path of a file, or what else is read, for messages. `name` is the schema, "" if the columns tell.
    """
    seen = SeenIds()
    # The same first rows decide, however many are read at a time.
    sample = next(source(SAMPLE, all_columns(), None))
    schema = _schema_of(place, sample, damage, name)
    # A file of chosen and rejected answers always says who has won, so that it is not one to predict.
    schema.keeps_rows = damage == "repair" and bool(schema.verdict or schema.source)
    with own_errors(type(schema)):
        schema.begin(sample)
    report, header = FileReport(place, type(schema)), sample.columns
    unused = _empty_verdict(schema, sample, partial(source, rows, schema.verdict, header))
    del sample  # a part of a long file that no longer needs memory
    for table in source(rows, {*schema.required, *schema.optional} - unused, header):
        try:
            with own_errors(type(schema)):
                parsed = schema.parse(table)
        except UserError as error:
            raise UserError(f"{place}: {error} {REMEDY}") from error
        except (RecursionError, ValueError) as error:
            last = table.first_row + len(table) - 1
            raise UserError(
                f"{place}: a cell in rows {table.first_row} to {last} is nested too deeply, or has too long a "
                f"number. {REMEDY}"
            ) from error
        battles, winner, complaints = parsed.battles, parsed.winner, table.complaints + parsed.complaints
        report.rows += len(table)
        report.dropped += parsed.dropped
        (report.undecided if damage == "repair" else report.dropped).update(parsed.undecided)
        report.missing_names += parsed.missing_names
        columns = (getattr(battles, column) for column in TEXTS)
        report.long_texts += sum(len(turn) > LONGEST for texts in columns for turns in texts for turn in turns)
        fresh = ~seen.mark(battles.id.tolist())
        complaints += [
            f"id {shorten(battles.id[row], 100)}: repeated in row {parsed.rows[row]}, expected once"
            for row in np.flatnonzero(~fresh).tolist()
        ]
        if winner is not None and damage != "repair":
            fresh &= winner != UNCLEAR
        if not fresh.all():
            battles = battles.take(fresh)
        if damage == "repair" and (lost := len(table) - len(set(parsed.rows)) - parsed.headers):
            battles = replace(battles, lost_rows=lost)
        # No repair can know the true winner.
        if winner is None or (winner[fresh] == UNCLEAR).any():
            battles = replace(battles, soft=None)
        else:
            battles = replace(battles, winner=winner[fresh])
        yield battles, complaints
    for line in report.lines():
        logger.warning("%s", line)


def _empty_verdict(schema: Schema, sample: Table, tables: Callable[[], Iterator[Table]]) -> set[str]:
    """Return the columns that say who has won if no row does, as where a test file has them; otherwise none.

    The whole file is read for it only if its first rows do not say who has won.
    """
    given = set(schema.verdict) & set(sample.columns)
    cells = (cell for table in chain([sample], tables()) for name in given for cell in table.cells[name])
    return set() if not given or any(map(name_of, cells)) else given


def _schema_of(place: str, table: Table, damage: Damage, name: str) -> Schema:
    """Return a reader for a file, by name or else by the columns of its first table.

    Raises UserError if no schema fits, if a known column is repeated, and, for training data, if model names or
    winners of a Kaggle file are incomplete.
    """
    found = find_schema(name) if name else recognise(table)
    expected, lacking = (found, [c for c in found.required if c not in table.columns]) if found else nearest(table)
    complaints = [f"missing column {column!r}" for column in lacking]
    if expected.name == "kaggle" and damage == "raise":
        groups = [group for group in (MODELS, WINNERS) if set(group) & set(table.columns)]
        complaints += [f"missing column {c!r}" for group in groups for c in group if c not in table.columns]
    known = (*expected.required, *expected.optional)
    repeated = [column for column in known if table.columns.count(column) > 1]
    complaints += [f"column {column!r} occurs more than once, expected once" for column in repeated]
    if not complaints and found is None:
        complaints = [f"the first rows are not those of schema {expected.name}, which has these columns"]
    if complaints or found is None:
        listed = ", ".join(map(excerpt, table.columns[:20])) + (" …" if len(table.columns) > 20 else "")
        near = "" if found else f"The nearest schema is {expected.name} ({expected.about}). "
        raise combined_error(place, complaints, f"{near}Found the columns {listed or 'none'}. {REMEDY}")
    with own_errors(found):
        return found()
