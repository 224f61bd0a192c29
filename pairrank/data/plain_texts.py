"""Files of single exchanges have one plain text per cell: a prompt of one turn, and one answer on each side."""

from typing import Any

from pairrank.data.battles import TEXTS, Battles
from pairrank.data.cells import MISSING, text_of
from pairrank.errors import UserError, excerpt, shorten


def single_texts(battles: Battles, schema: str) -> dict[str, list[str]]:
    """Return the texts by column. Raises UserError if a battle has several turns, for which there is no place."""
    for name in TEXTS:
        for row, turns in enumerate(getattr(battles, name)):
            if len(turns) != 1:
                raise UserError(
                    f"schema {schema}: id {shorten(battles.id[row], 100)} has {len(turns)} turns, expected 1. "
                    "Choose a schema that holds conversations, such as kaggle."
                )
    return {name: [turns[0] for turns in getattr(battles, name)] for name in TEXTS}


def joined_prompt(instruction: str, given: Any) -> str:
    """Return an instruction and, below it, the text that it is about, if there is one."""
    given = given if isinstance(given, str) else ""
    return f"{instruction}\n\n{given}" if given.strip() else instruction


def number_of(cell: Any) -> float | None:
    """Return the number in a cell, None if it is missing, and NaN for a text that is not a number.

    Raises ValueError, with what was found, for a cell of another type.
    """
    if isinstance(cell, bool) or not (cell is None or isinstance(cell, int | float | str)):
        raise ValueError(f"is {excerpt(cell, 40)}, expected a number")
    text = text_of(cell)
    if not text or text.casefold() in MISSING:
        return None
    try:
        return float(text)
    except ValueError:
        return float("nan")
