"""A conversation is a tuple of turns, kept in a file as a JSON list that may hold nulls and half characters."""

import json
import re
from typing import Any

Turns = tuple[str, ...]

SURROGATE = re.compile("[\ud800-\udfff]")

DECODER = json.JSONDecoder(strict=False)
"""Takes a raw line break inside a text for what it is."""


def repair_text(text: str) -> str:
    """Text that every tokenizer and UTF-8 writer accepts: lone surrogates become U+FFFD, pairs their character.

    About 1 % of the competition's rows hold half of an emoji, which crashes both.
    """
    if text.isascii() or not SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def parse_turns(cell: Any) -> tuple[Turns, str]:
    """The turns of one cell, and what was wrong with it ("" when nothing was).

    A null turn is an empty one, which real data has; an empty list is one empty turn. A cell that is not a
    JSON list of texts is taken as a single turn as it stands. Lists (from parquet files) are taken as they are.
    """
    if cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip()):
        return ("",), "is empty, expected a JSON list of turns"
    if not isinstance(cell, str):
        return _turns_of(cell, str(cell))
    try:
        return _turns_of(DECODER.decode(cell), cell)
    except (ValueError, RecursionError):  # recursion: a list nested a thousand deep
        return (repair_text(cell),), f"is not JSON: {_excerpt(cell)}, expected a JSON list of turns"


def join_turns(turns: Turns) -> str:
    r"""The cell of these turns, character for character as the competition writes it: no spaces, `\/`, `\uXXXX`."""
    return json.dumps(list(turns), separators=(",", ":")).replace("/", "\\/")


def _turns_of(value: Any, cell: str) -> tuple[Turns, str]:
    """The turns of a decoded cell, and what was wrong with it."""
    if not isinstance(value, list | tuple):
        text = value if isinstance(value, str) else "" if value is None else cell
        return (repair_text(text),), f"is no list: {_excerpt(cell)}, expected a JSON list of turns"
    odd = [turn for turn in value if turn is not None and not isinstance(turn, str)]
    what = f"holds {_excerpt(str(odd[0]))}, expected text or null in every turn" if odd else ""
    return tuple(repair_text(_text_of(turn)) for turn in value) or ("",), what


def _text_of(turn: Any) -> str:
    """A turn as text: null is nothing, and what is neither text nor null is spelled as JSON."""
    if isinstance(turn, str):
        return turn
    return "" if turn is None else json.dumps(turn, ensure_ascii=False, default=str)


def _excerpt(text: str) -> str:
    """The beginning of an untrusted text, fit for one line of a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
