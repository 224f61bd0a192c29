"""Tables in memory are read by the same schemas as files: pandas DataFrames, Hugging Face data sets and records."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.formats.registry import find_schema
from pairrank.data.reading import BLOCK, Damage, Source, collect_battles, parse_tables
from pairrank.data.tables import Table
from pairrank.data.turns import repair_text
from pairrank.errors import UserError, excerpt

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def from_dataframe(frame: "pd.DataFrame", schema: str = "", damage: Damage = "raise") -> Battles:
    """Return the battles in a pandas DataFrame, whose columns tell the schema as those of a file do.

    NaN, None and the other missing values of pandas are empty cells. An index that has a name is a column, as in
    the files that pandas writes. `schema` and `damage`, and the errors, are those of `read_battles`.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"DataFrame: found {excerpt(frame, 60)}, expected a pandas DataFrame.")
    names = frame.index.names
    if all(name is not None and name not in frame.columns for name in names):
        frame = frame.reset_index()
    header = [str(name) for name in frame.columns]

    def tables(rows: int, wanted: Collection[str], _: Sequence[str] | None) -> Iterator[Table]:
        places = {name: header.index(name) for name in dict.fromkeys(header) if name in wanted}
        for start in range(0, max(len(frame), 1), rows):
            part = frame.iloc[start : start + rows]
            cells: dict[str, Sequence[Any]] = {
                name: _plain_cells(part.iloc[:, at].tolist()) for name, at in places.items()
            }
            yield Table(header, cells, start + 1, [])

    return _battles_of(tables, "DataFrame", schema, damage)


def from_records(records: Iterable[Mapping[str, Any]], schema: str = "", damage: Damage = "raise") -> Battles:
    """Return the battles in dictionaries, one per row, whose keys tell the schema as the columns of a file do."""
    if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
        raise UserError(f"records: found {excerpt(records, 60)}, expected a dictionary for each row.")
    rows = list(records)
    header = list(dict.fromkeys(str(name) for row in rows if isinstance(row, Mapping) for name in row))
    return _battles_of(_row_tables(rows, header), "records", schema, damage)


def from_dataset(dataset: Any, schema: str = "", damage: Damage = "raise") -> Battles:
    """Return the battles in a Hugging Face `Dataset`, or in anything with `column_names` that yields dictionaries.

    Raises UserError for a `DatasetDict`, which has several splits, and as `read_battles` does.
    """
    if isinstance(dataset, Mapping):
        splits = ", ".join(map(str, dataset))
        raise UserError(f"dataset: found the splits {splits}, expected one split, such as dataset['train'].")
    header = getattr(dataset, "column_names", None)
    if not isinstance(header, Sequence) or isinstance(header, str):
        raise UserError(f"dataset: column_names is {excerpt(header, 60)}, expected a list of names.")
    # The rows are read twice, first to recognise the schema; an iterator could be read once only.
    rows = list(dataset) if isinstance(dataset, Iterator) else dataset
    return _battles_of(_row_tables(rows, list(header)), "dataset", schema, damage)


def to_dataframe(battles: Battles, schema: str = "kaggle") -> "pd.DataFrame":
    """Return a pandas DataFrame with the columns that `write_battles` writes to a file of this schema.

    Conversations in "kaggle" are JSON texts, so that the DataFrame written as CSV is a file of the competition.
    Columns that the schema cannot hold are left out, with a warning.
    """
    import pandas as pd

    writer = find_schema(schema)()
    # pandas 3 raises UnicodeEncodeError for half of a surrogate pair.
    columns = {name: [_repaired(cell) for cell in cells] for name, cells in writer.columns(battles).items()}
    if lost := writer.lost(battles):
        logger.warning("to_dataframe: schema %s has no columns for %s", schema, ", ".join(lost))
    return pd.DataFrame(columns)


def _battles_of(source: Source, place: str, schema: str, damage: Damage) -> Battles:
    return collect_battles(parse_tables(source, place, damage, BLOCK, schema), place, damage)


def _row_tables(rows: Iterable[Any], header: list[str]) -> Source:
    """Return a source of tables for rows that are dictionaries, with a complaint for each other row."""

    def tables(size: int, wanted: Collection[str], _: Sequence[str] | None) -> Iterator[Table]:
        names = [name for name in dict.fromkeys(header) if name in wanted]
        found, first_row = iter(rows), 1
        block = list(islice(found, size))
        while True:
            complaints = [
                f"row {number}: is {excerpt(row, 40)}, expected a dictionary"
                for number, row in enumerate(block, first_row)
                if not isinstance(row, Mapping)
            ]
            whole = [row if isinstance(row, Mapping) else {} for row in block]
            cells: dict[str, Sequence[Any]] = {
                name: _plain_cells([row.get(name) for row in whole]) for name in names
            }
            yield Table(header, cells, first_row, complaints)
            first_row += len(block)
            if not (block := list(islice(found, size))):
                return

    return tables


def _plain_cells(cells: Iterable[Any]) -> list[Any]:
    return [_plain(cell) for cell in cells]


def _plain(cell: Any) -> Any:
    """Return a cell as a file would hold it: None for missing values, lists for arrays, Python numbers."""
    if isinstance(cell, np.ndarray | np.generic):
        cell = cell.tolist()
    if isinstance(cell, str):
        return repair_text(cell)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, list | tuple):
        return [_plain(each) for each in cell]
    if isinstance(cell, Mapping):
        return {name: _plain(each) for name, each in cell.items()}
    return None if _is_missing(cell) else cell


def _is_missing(cell: Any) -> bool:
    """Return whether a cell is None, NaN, NaT or pandas.NA, without pandas."""
    try:
        return cell is None or bool(cell != cell)
    except (TypeError, ValueError):  # pandas.NA has no truth value, not even when it is compared
        return True


def _repaired(cell: Any) -> Any:
    """Return a cell without lone surrogates in its texts, at any depth."""
    if isinstance(cell, str):
        return repair_text(cell)
    if isinstance(cell, list | tuple):
        return [_repaired(each) for each in cell]
    if isinstance(cell, Mapping):
        return {name: _repaired(each) for name, each in cell.items()}
    return cell
