"""A schema says how the columns of a file describe battles."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pairrank.data.battles import TEXTS, Battles
from pairrank.data.cells import id_of
from pairrank.data.formats.vote import DamagedRowError as DamagedRowError
from pairrank.data.formats.vote import UnusableRowError as UnusableRowError
from pairrank.data.formats.vote import Vote as Vote
from pairrank.data.formats.vote import battles_of, content_id, fault_of
from pairrank.data.occurrences import Occurrences
from pairrank.data.probabilities import Labels
from pairrank.data.tables import NOT_UTF8, RAW_BYTE, Table
from pairrank.errors import UserError, described, excerpt, shorten


@dataclass
class Parsed:
    """What a schema has read from a table."""

    battles: Battles
    """Without winners, except for `soft`, which says nothing where the winner is `UNCLEAR`."""
    winner: Labels | None
    """(n,) winners or `UNCLEAR`; None for files without columns for winners."""
    rows: Sequence[int]
    """(n,) numbers of the rows in the file."""
    complaints: list[str]
    """One per damaged row, which is repaired or, where nothing of it can be used, left out."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Number of rows that hold no battle by the reason."""
    undecided: Counter[str] = field(default_factory=Counter)
    """Number of rows that hold a battle but do not say who has won, by the reason."""
    missing_names: Counter[str] = field(default_factory=Counter)
    """Number of model names by the spelling of a missing value that stands in their place."""
    headers: int = 0
    """Number of rows that repeat the header."""


class Schema(ABC):
    """How the columns of a file describe battles. One object reads one file, from its first table to its last."""

    name: ClassVar[str] = ""
    """The name of its file."""
    source: ClassVar[str] = ""
    """The path of its file if that is the user's own; "" for a schema of pairrank."""
    about: ClassVar[str]
    """What has this schema, for `check` and messages."""
    required: ClassVar[tuple[str, ...]]
    """Columns without which a file has another schema."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Columns that are read where they exist."""
    verdict: ClassVar[tuple[str, ...]] = ()
    """Columns that say who has won. A file in which all of them are empty has battles to predict."""

    is_written: ClassVar[bool] = True
    """Whether `columns` writes battles; other schemas are only read."""

    keeps_rows: bool = False
    """Whether every row must give a battle, because the file is to be predicted. The reader of the file sets it."""

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the first rows of a file with the required columns look as expected."""
        return True

    def begin(self, table: Table) -> None:  # noqa: B027  # most schemas need not look
        """Look at the first rows of the file, which `parse` gets again, to learn how its cells are written."""

    @abstractmethod
    def parse(self, table: Table) -> Parsed:
        """Return the battles in a table."""

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError if the schema cannot hold them."""
        raise UserError(f"schema {self.name}: this schema is read, not written. Choose another one.")

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns of battles that a file of this schema cannot hold."""
        return []


class RowSchema(Schema):
    """A schema in which each row is read by itself."""

    carries: ClassVar[tuple[str, ...]] = ()
    """Fields of `Vote` that its rows give, besides the texts and the winner. They become columns of the battles."""

    own_id: ClassVar[str] = "id"
    """The column of ids, which tells a row that cannot be read."""

    def __init__(self) -> None:
        self._made_up = Occurrences()

    @abstractmethod
    def votes(self, row: Mapping[str, Any]) -> Iterable[Vote]:
        """Return the battles that a row describes; raises UnusableRowError or DamagedRowError if there are none.

        Of a row without the columns in `verdict`, the battles have no winner.
        """

    def parse(self, table: Table) -> Parsed:
        """Return the battles in a table, row by row."""
        votes: list[Vote] = []
        rows: list[int] = []
        complaints: list[str] = []
        dropped, undecided = Counter[str](), Counter[str]()
        for number, row in enumerate(table.rows(), table.first_row):
            if any(isinstance(cell, str) and not cell.isascii() and RAW_BYTE.search(cell) for cell in row.values()):
                complaints.append(f"row {number}: {NOT_UTF8}; {'repaired' if self.keeps_rows else 'left out'}")
                if not self.keeps_rows:
                    continue
            found, reason = self._read(row)
            if reason:
                found = self._undecided(row)
            if not found and self.keeps_rows:
                found, fault = self._repaired(row, number)
                complaints.append(f"row {number}, {_shown_id(found)}: {fault or reason}; read as empty text")
            elif isinstance(reason, DamagedRowError):
                complaints.append(f"row {number}: {reason}; {'it has no winner' if found else 'left out'}")
            elif reason:
                (undecided if found else dropped)[str(reason)] += 1
            votes += found
            rows += [number] * len(found)
        ids = [id_of(vote.id) or self._new_id(vote) for vote in votes]
        battles, winner = battles_of(votes, ids, self.carries)
        has_winners = not self.verdict or any(name in table.cells for name in self.verdict)
        return Parsed(battles, winner if has_winners else None, rows, complaints, dropped, undecided)

    def _read(self, row: Mapping[str, Any]) -> tuple[list[Vote], ValueError | None]:
        """Return the battles of a row, or the reason why there are none.

        Whatever a schema of the user's own raises is a complaint about the row.
        """
        try:
            found = list(self.votes(row))
            if self.source and (fault := next(filter(None, map(fault_of, found)), "")):
                raise DamagedRowError(f"{Path(self.source).name}: {fault}")
        except (UnusableRowError, DamagedRowError) as reason:
            return [], reason
        except (Exception, SystemExit) as error:
            if not self.source:
                raise
            return [], DamagedRowError(f"{Path(self.source).name} fails ({described(error)})")
        return found, None

    def _undecided(self, row: Mapping[str, Any]) -> list[Vote]:
        """Return the battles of a row whose winner cannot be read; none if something else is wrong with it."""
        return self._read(self._without_verdict(row))[0]

    def _repaired(self, row: Mapping[str, Any], number: int) -> tuple[list[Vote], str]:
        """Return the battles of a row with missing and damaged texts read as empty, and what was wrong with them.

        If the row cannot be read in this way either, all texts of its one battle are empty.
        """
        repaired = RepairedRow(self._without_verdict(row))
        if found := self._read(repaired)[0]:
            return found, ", ".join(dict.fromkeys(repaired.faults))
        cell = row.get(self.own_id)
        own = "" if isinstance(cell, list | tuple | Mapping) else id_of(cell)
        return [Vote(("",), ("",), ("",), id=own or f"row-{number}")], ""

    def _without_verdict(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: cell for name, cell in row.items() if name not in self.verdict}

    def _new_id(self, vote: Vote) -> str:
        """Return an id that no earlier vote of the file was given here.

        Votes with the same name X get X and X-again-2, or X-2 if X is a hash of the texts. They are numbered in the
        order of the file, so that it does not matter how many rows are read at a time.
        """
        name = vote.name or content_id(vote)
        count = self._made_up.add(name)
        if count > 1 and vote.variant:
            name = f"{name}-{vote.variant}"
            count = self._made_up.add(name)
        if count == 1:
            return name
        stem = f"{name}-again" if vote.name else name
        while self._made_up.add(made := f"{stem}-{count}") > 1:  # it is the name of another vote
            count += 1
        return made


def _shown_id(votes: Sequence[Vote]) -> str:
    """Return the ids of the battles of a row for a message."""
    own = dict.fromkeys(filter(None, (id_of(vote.id) for vote in votes)))
    return f"id {shorten(', '.join(own), 100)}" if own else "without an id"


# Cells


class RepairedRow(dict[str, Any]):
    """A row to predict, whose missing and damaged texts are read as empty."""

    def __init__(self, cells: Mapping[str, Any]) -> None:
        super().__init__(cells)
        self.faults: list[str] = []
        """What was wrong with these texts."""


def text_cell(row: Mapping[str, Any], name: str) -> str:
    """Return a cell that must be text; raises UnusableRowError for null and DamagedRowError otherwise.

    In a `RepairedRow`, such a cell is an empty text.
    """
    value = row.get(name)
    if isinstance(value, str):
        return value
    is_missing = value is None or value != value
    fault = f"{name} is missing" if is_missing else f"{name} is {excerpt(value, 40)}, expected text"
    if isinstance(row, RepairedRow):
        row.faults.append(fault)
        return ""
    raise UnusableRowError(fault) if is_missing else DamagedRowError(fault)


# Columns


def left_out(battles: Battles, kept: Collection[str]) -> list[str]:
    """Return the names of the columns that battles have, besides ids, texts, winners and those in `kept`.

    Strengths that are all 0 are not known, so that nothing is lost with them.
    """
    known = {"id", *TEXTS, "winner", *kept}
    if battles.strength is not None and not battles.strength.any():
        known.add("strength")
    return [name for name, column in battles.columns().items() if column is not None and name not in known]


# The registry

S = TypeVar("S", bound=type[Schema])
REGISTERED: dict[str, type[Schema]] = {}
"""The schemas of this package whose files have been imported, by name; `registry.schemas` imports all."""


def register(cls: S) -> S:
    """Make a schema available under the name of its file; raises UserError for anything but a schema."""
    if not (isinstance(cls, type) and issubclass(cls, Schema)):
        raise UserError(f"@register: found {excerpt(cls, 60)}, expected a subclass of Schema or RowSchema.")
    package, _, cls.name = cls.__module__.rpartition(".")
    if package == __name__.rpartition(".")[0]:
        REGISTERED[cls.name] = cls
    return cls
