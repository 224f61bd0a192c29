"""The spellings of ids, names, numbers and details in the cells of a table, whichever program wrote it."""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from numbers import Number
from typing import Any

from pairrank.data.turns import DECODER, repair_text
from pairrank.errors import excerpt

MISSING = frozenset(("nan", "none", "null", "n/a", "na", "<na>", "#n/a", "nat", "undefined"))
"""Spellings of a missing value, in lower case, that tables of other programs contain as text."""

FLOATING = re.compile(r"-?\d+(\.\d*|(\.\d*)?[eE]\+\d+)", re.ASCII)
"""A number as programs write it that is not an integer to them."""

INEXACT = "written as a floating-point number, which is exact only up to 9,007,199,254,740,992 (2**53)"
"""Complaint about an id."""

WHOLE = re.compile(r"(-?\d+)\.0*")


def text_of(cell: Any) -> str:
    """Return a cell as text without surrounding white space; "" for null and NaN."""
    if isinstance(cell, Decimal) and cell.is_nan():  # a signaling NaN cannot be compared
        return ""
    return "" if cell is None or cell != cell else repair_text(str(cell)).strip()


def is_inexact(cell: Any) -> bool:
    """Return whether an id was written as a floating-point number so large that it stands for several integers."""
    text = text_of(cell)
    return FLOATING.fullmatch(text) is not None and abs(float(text)) >= 2**53


def id_of(cell: Any) -> str:
    """Return an id as text. A whole number has no decimals, even if a program has stored it as 30192.0."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # 1e16 has an exponent as text
    text = text_of(cell)
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def name_of(cell: Any) -> str:
    """Return the name of a model; "" for a spelling of a missing value."""
    text = text_of(cell)
    return "" if text.casefold() in MISSING else text


def flag_of(cell: Any) -> int:
    """Return 1 or 0 for any spelling of 1, 0, true and false, and -1 for anything else."""
    text = id_of(cell).lower()
    return {"1": 1, "true": 1, "0": 0, "-0": 0, "false": 0}.get(text, -1)


def number_of(cell: Any) -> float | None:
    """Return the number in a cell of any numeric type, Decimal and those of numpy included, or in its text.

    None stands for a missing value, and NaN for a text that is not a number. Raises ValueError, with what was
    found, for a cell of another type, such as true and false.
    """
    if isinstance(cell, bool | complex) or not (cell is None or isinstance(cell, Number | str)):
        raise ValueError(f"is {excerpt(cell, 40)}, expected a number")
    text = text_of(cell)
    if not text or text.casefold() in MISSING:
        return None
    number: Any = cell  # not its text, which may be a fraction
    try:
        return float(number)
    except (ValueError, OverflowError):
        return float("nan")


def detail_of(cell: Any) -> str:
    """Return a detail of a vote, such as its category, as text; "" for null.

    Of a list, these are its items, separated by commas. Of a table, perhaps a nested one, they are the names of its
    true flags, separated by commas, or its JSON if it has no flags.
    """
    if isinstance(cell, Mapping):
        flags = [*_flags(cell)]
        return ",".join(name for name, flag in flags if flag) if flags else _json(cell)
    if isinstance(cell, list | tuple):
        return ",".join(item if isinstance(item, str) else detail_of(item) for item in cell if item is not None)
    return text_of(cell)


def decoded(cell: Any) -> Any:
    """Return the list or table that a text holds as JSON, as in .csv files; everything else is unchanged."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return DECODER.decode(cell.strip())
    except (ValueError, RecursionError):
        return cell


def _flags(table: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flags(value)
        elif isinstance(value, bool):  # a score of 1 is not a flag
            yield text_of(name), value


def _json(cell: Mapping[str, Any]) -> str:
    return repair_text(json.dumps(cell, ensure_ascii=False, default=str)) if cell else ""
