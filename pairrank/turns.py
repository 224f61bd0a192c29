"""A conversation is a tuple of turns, kept in a file as a JSON list that may hold nulls and half characters."""

import json
import re
from typing import Any

Turns = tuple[str, ...]

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def repair_text(text: str) -> str:
    """Text that every tokenizer and UTF-8 writer accepts: lone surrogates become U+FFFD.

    About 1 % of the competition's rows hold half of an emoji, which crashes both.
    """
    return LONE_SURROGATE.sub(REPLACEMENT, text)


def parse_turns(cell: Any) -> tuple[Turns, str]:
    """The turns of one cell, and what was wrong with it ("" when nothing was).

    A null turn is an empty one, which real data has; an empty list is one empty turn. A cell that is not a
    JSON list of texts is taken as a single turn as it stands. Lists (from parquet files) are taken as they are.
    """
    if isinstance(cell, str):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError):
            what = "is empty" if not cell.strip() else f"is not JSON: {_excerpt(cell)}"
            return (repair_text(cell),), f"{what}, expected a JSON list of turns"
    elif cell is None or (isinstance(cell, float) and cell != cell):
        return ("",), "is empty, expected a JSON list of turns"
    else:
        value = cell.tolist() if hasattr(cell, "tolist") else cell
    if not isinstance(value, list | tuple):
        text = value if isinstance(value, str) else str(cell)
        return (repair_text(text),), f"is no list: {_excerpt(str(cell))}, expected a JSON list of turns"
    odd = [turn for turn in value if turn is not None and not isinstance(turn, str)]
    turns = tuple("" if turn is None else turn if isinstance(turn, str) else json.dumps(turn) for turn in value)
    if not all(map(str.isascii, turns)):
        turns = tuple(map(repair_text, turns))
    what = f"holds {_excerpt(str(odd[0]))}, expected text or null in every turn" if odd else ""
    return turns or ("",), what


def join_turns(turns: Turns) -> str:
    """The cell of these turns: JSON with ASCII escapes, as in the competition's files."""
    return json.dumps(list(turns))


def _excerpt(text: str) -> str:
    """The beginning of an untrusted text, fit for one line of a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
