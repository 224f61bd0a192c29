"""A conversation is a tuple of turns; a file holds it as a JSON list, in which nulls and lone surrogates occur."""

import json
import re
from typing import Any

Turns = tuple[str, ...]
"""The turns of one side of a conversation, oldest first."""

LONGEST = 1_000_000
"""Characters of a turn that are measured or tokenised, half of them from its end.

Words and tokens take 100 times the memory of a text.
"""

SURROGATE = re.compile("[\ud800-\udfff]")

DECODER = json.JSONDecoder(strict=False)
"""Accepts unescaped line breaks inside a text."""


def repair_text(text: str) -> str:
    """Return a text that every tokenizer and UTF-8 writer accepts.

    Lone surrogates become U+FFFD, and surrogate pairs become the character they encode. About 1 % of the
    competition's rows contain half of the surrogate pair of an emoji, which crashes tokenizers and writers.
    """
    if text.isascii() or not SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut_middle(text: str, longest: int = LONGEST) -> str:
    """Return a text unchanged, or without its middle if it has more than `longest` characters."""
    tail = longest // 2
    return text if len(text) <= longest else text[: longest - tail] + text[len(text) - tail :]


def parse_turns(cell: Any) -> tuple[Turns, str]:
    """Return the turns of one cell and a complaint about it, which is "" for a valid cell.

    A valid cell is a JSON list, or a Python list from a .parquet file, of texts and nulls. A null, which the
    competition's files contain, becomes an empty turn, and an empty list becomes one empty turn. Any other cell
    becomes a single turn with its text unchanged.
    """
    if cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip()):
        return ("",), "is empty, expected a JSON list of turns"
    if not isinstance(cell, str):
        return _turns_of(cell, str(cell))
    try:
        return _turns_of(DECODER.decode(cell), cell)
    except (ValueError, RecursionError):  # RecursionError: a list nested a thousand levels deep
        return (repair_text(cell),), f"is not JSON: {_excerpt(cell)}, expected a JSON list of turns"


def join_turns(turns: Turns) -> str:
    r"""Return the cell of these turns exactly as the competition writes it: no spaces, `\/`, `\uXXXX` escapes."""
    return json.dumps(list(turns), separators=(",", ":")).replace("/", "\\/")


def _turns_of(value: Any, cell: str) -> tuple[Turns, str]:
    """Return the turns of a decoded cell and a complaint about it, as `parse_turns` does."""
    if not isinstance(value, list | tuple):
        text = value if isinstance(value, str) else "" if value is None else cell
        return (repair_text(text),), f"is not a list: {_excerpt(cell)}, expected a JSON list of turns"
    odd = [turn for turn in value if turn is not None and not isinstance(turn, str)]
    what = f"contains {_excerpt(str(odd[0]))}, expected text or null in every turn" if odd else ""
    return tuple(repair_text(_text_of(turn)) for turn in value) or ("",), what


def _text_of(turn: Any) -> str:
    """Return a turn as text: "" for null, and JSON for anything that is neither text nor null."""
    if isinstance(turn, str):
        return turn
    return "" if turn is None else json.dumps(turn, ensure_ascii=False, default=str)


def _excerpt(text: str) -> str:
    """Return the beginning of an untrusted text, escaped, for one line of a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
