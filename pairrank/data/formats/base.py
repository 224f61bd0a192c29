"""A schema says how the columns of a file describe battles.

A file of this folder that registers one is found, and so is a file of one's own that $PAIRRANK_SCHEMAS names.
"""

import importlib
import importlib.util
import os
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from pairrank.data.battles import DETAILS, TEXTS, Battles, Winner, object_array
from pairrank.data.cells import id_of, name_of, text_of
from pairrank.data.formats.vote import CARRIED, fault_of
from pairrank.data.formats.vote import DamagedRowError as DamagedRowError
from pairrank.data.formats.vote import UnusableRowError as UnusableRowError
from pairrank.data.formats.vote import Vote as Vote
from pairrank.data.occurrences import Occurrences
from pairrank.data.probabilities import Labels
from pairrank.data.tables import NOT_UTF8, RAW_BYTE, Table
from pairrank.data.turns import Turns, repair_text
from pairrank.errors import UserError, combined_error, excerpt, shorten, unknown_name

UNCLEAR = -1
"""The winner of a row that does not say who has won. It is used while a file is read only."""


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


def described(error: BaseException) -> str:
    """Return the type and the message of an error for one line of a message."""
    return ": ".join(filter(None, (type(error).__name__, shorten(str(error), 200))))


def battles_of(votes: Sequence[Vote], ids: Sequence[str], carries: Sequence[str]) -> tuple[Battles, Labels]:
    """Return a table of votes with the columns that `carries` names, and the winners or `UNCLEAR`."""
    columns: dict[str, Any] = {
        name: object_array([tuple(map(repair_text, getattr(vote, name))) or ("",) for vote in votes])
        for name in ("prompt", "response_a", "response_b")
    }
    columns["id"] = object_array(ids)
    for name in ("model_a", "model_b"):
        if name in carries:
            columns[name] = object_array([name_of(getattr(vote, name)) for vote in votes])
    for name in DETAILS:
        if name in carries:
            columns[name] = object_array([text_of(getattr(vote, name)) for vote in votes])
    if "both_bad" in carries:
        columns["both_bad"] = np.array([vote.both_bad for vote in votes], dtype=bool)
    if "strength" in carries:
        columns["strength"] = np.array([vote.strength for vote in votes], dtype=np.float64)
    if "weight" in carries:
        columns["weight"] = np.array([vote.weight for vote in votes], dtype=np.float64)
    if "soft" in carries:
        columns["soft"] = np.array([_soft_of(vote) for vote in votes], dtype=np.float64).reshape(len(votes), 3)
    winner = np.array([UNCLEAR if vote.winner is None else vote.winner for vote in votes], dtype=np.int64)
    return Battles(**columns), winner


def _soft_of(vote: Vote) -> tuple[float, float, float]:
    if vote.soft is not None:
        return vote.soft
    winner = Winner.TIE if vote.winner is None else vote.winner
    return (float(winner == Winner.A), float(winner == Winner.B), float(winner == Winner.TIE))


def content_id(vote: Vote) -> str:
    """Return 16 hexadecimal digits that identify the texts of a battle, for files that have no ids."""
    parts = (vote.prompt, vote.response_a, vote.response_b)
    text = "\0\0".join("\0".join(map(repair_text, part)) for part in parts)
    return sha256(text.encode()).hexdigest()[:16]


def is_first(prompt: Turns, one: Turns, other: Turns) -> bool:
    """Return whether `one` of two answers is answer A, drawn by a hash of all texts.

    Files of chosen and rejected answers, and those with a fixed reference, would otherwise have the same winner or
    model on one side throughout. The draw depends on which texts there are, and not on which of them was preferred.
    """
    smaller, larger = sorted((one, other))
    text = "\0\0".join("\0".join(map(repair_text, part)) for part in (prompt, smaller, larger))
    drawn = sha256(text.encode()).digest()[0] % 2 == 0
    return (one == smaller) == drawn


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
    """Return the names of the columns that battles have, besides ids, texts, winners and those in `kept`."""
    known = {"id", *TEXTS, "winner", *kept}
    return [name for name, column in battles.columns().items() if column is not None and name not in known]


# The registry

S = TypeVar("S", bound=type[Schema])
_REGISTRY: dict[str, type[Schema]] = {}


def register(cls: S) -> S:
    """Make a schema available under the name of its file; raises UserError for anything but a schema."""
    if not (isinstance(cls, type) and issubclass(cls, Schema)):
        raise UserError(f"@register: found {excerpt(cls, 60)}, expected a subclass of Schema or RowSchema.")
    cls.name = cls.__module__.rpartition(".")[2]
    _REGISTRY[cls.name] = cls
    return cls


OWN_PACKAGE = "pairrank_schemas"
"""Package in whose name files of the user's own are imported; it does not exist."""

OWN = "PAIRRANK_SCHEMAS"
"""Environment variable with the paths of Python files, separated as in $PATH, each of which registers a schema."""


def schemas() -> dict[str, type[Schema]]:
    """Return all schemas by name; raises UserError for a file in $PAIRRANK_SCHEMAS that registers none."""
    own: dict[str, type[Schema]] = {}
    for path in dict.fromkeys(filter(None, os.environ.get(OWN, "").split(os.pathsep))):
        found = schema_file(path)
        other = own.setdefault(found.name, found)
        if Path(other.source).resolve() != Path(path).resolve():
            raise UserError(f"${OWN}: {other.source} and {path} have the same name. Rename one of them.")
    return _shipped() | own


@cache
def _shipped() -> dict[str, type[Schema]]:
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    names = sorted(module.name for module in found if module.name != "base")
    for name in names:
        importlib.import_module(f"pairrank.data.formats.{name}")
    return {name: _REGISTRY[name] for name in names if name in _REGISTRY}


@cache
def schema_file(path: str) -> type[Schema]:
    """Run a Python file of the user's own and return the schema it registers; its name is that of the file.

    The file is code: only its user may name it, and never a file of battles or a data.toml beside one. Raises
    UserError if there is no such file, if it fails, or if it registers no schema of a name that is still free.
    """
    name = Path(path).stem
    module = f"{OWN_PACKAGE}.{name}"  # a name that hides no other module
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UserError(f"{path}: no Python file with a schema. Expected the path of a .py file.")
    if "." in name:
        raise UserError(f"{path}: the schema is called {name!r}. Give the file a name without another dot.")
    if name in _shipped():
        raise UserError(f"{path}: a schema {name} is part of pairrank. Give the file another name.")
    _REGISTRY.pop(name, None)  # of another file of this name
    sys.modules[module] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
    try:
        spec.loader.exec_module(sys.modules[module])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        del sys.modules[module]
        raise UserError(f"{path}: this schema fails ({described(error)}).") from error
    if name not in _REGISTRY:
        raise UserError(f"{path}: registers no schema. Put `@register` before a subclass of Schema or RowSchema.")
    found = _REGISTRY[name]
    if complaints := _class_complaints(found):
        raise combined_error(path, complaints, "Correct the class; Dataset/README.md has an example.")
    found.source = path
    found.is_written = found.is_written and found.columns is not Schema.columns
    return found


def _class_complaints(schema: type[Schema]) -> list[str]:
    """Return what is wrong with the class of a schema of the user's own."""
    about = getattr(schema, "about", None)
    complaints = [] if isinstance(about, str) and about else [f"about is {excerpt(about, 40)}, expected a text"]
    for name in ("required", "optional", "verdict", "carries"):
        found = getattr(schema, name, ())
        if not isinstance(found, tuple | list) or not all(isinstance(each, str) and each for each in found):
            complaints.append(f"{name} is {excerpt(found, 40)}, expected a tuple of names")
    if complaints:
        return complaints
    if not getattr(schema, "required", ()):
        complaints.append("required is missing or empty, expected the columns that tell the schema")
    if unknown := set(schema.verdict) - {*schema.required, *schema.optional}:
        complaints.append(f"verdict: {', '.join(sorted(unknown))} is neither required nor optional")
    if unknown := set(getattr(schema, "carries", ())) - set(CARRIED):
        complaints.append(f"carries: found {', '.join(sorted(unknown))}, expected some of {', '.join(CARRIED)}")
    if missing := sorted(getattr(schema, "__abstractmethods__", ())):
        complaints.append(f"the method {', '.join(missing)} is missing")
    return complaints


@contextmanager
def own_errors(schema: type[Schema]) -> Iterator[None]:
    """Raise UserError, which names the file, for whatever a schema of the user's own raises."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if not schema.source:
            raise
        raise UserError(f"{schema.source}: this schema fails ({described(error)}).") from error


def find_schema(name: str) -> type[Schema]:
    """Return the schema of this name; raises UserError for an unknown one."""
    if name not in schemas():
        raise UserError(f"{unknown_name('schema', name, schemas())} ${OWN} names files with schemas of your own.")
    return schemas()[name]


def all_columns() -> frozenset[str]:
    """Return the columns that any schema reads."""
    return frozenset(name for each in schemas().values() for name in (*each.required, *each.optional))


def recognise(table: Table) -> type[Schema] | None:
    """Return the schema whose columns the first table of a file has; None if there is none.

    Of several, it is the one that requires the most columns, and then the one that reads the most.
    """
    found = set(table.columns)

    def rank(schema: type[Schema]) -> tuple[int, int]:
        return len(schema.required), len(found & set(schema.optional))

    fitting = [each for each in schemas().values() if set(each.required) <= found and _accepts(each, table)]
    return max(fitting, key=rank, default=None)


def _accepts(schema: type[Schema], table: Table) -> bool:
    with own_errors(schema):
        return schema.accepts(table)


def nearest(table: Table) -> tuple[type[Schema], list[str]]:
    """Return the schema that lacks the smallest share of its columns, and those columns."""
    found = set(table.columns)

    def lacking(schema: type[Schema]) -> list[str]:
        return [name for name in schema.required if name not in found]

    best = min(
        schemas().values(), key=lambda each: (len(lacking(each)) / len(each.required), each.name != "kaggle")
    )
    return best, lacking(best)
