"""The spellings of ids, model names and winners in the cells of a table, whichever program wrote it."""

import re
from typing import Any

from pairrank.data.turns import repair_text

MISSING = frozenset(("nan", "none", "null", "n/a", "na", "<na>", "#n/a", "nat", "undefined"))
"""Spellings of a missing value, in lower case, that tables of other programs contain as text."""

FLOATING = re.compile(r"-?\d+(\.\d*|(\.\d*)?[eE]\+\d+)", re.ASCII)
"""A number as programs write it that is not an integer to them."""

INEXACT = "written as a floating-point number, which is exact only up to 9,007,199,254,740,992 (2**53)"
"""Complaint about an id."""

WHOLE = re.compile(r"(-?\d+)\.0*")


def text_of(cell: Any) -> str:
    """Return a cell as text without surrounding white space; "" for null and NaN."""
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
