"""A mistake that the user can correct is reported in one readable message, without a traceback."""

import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

LONGEST_MESSAGE = 4_000
"""Largest number of characters of a message; a file, and so what a message quotes from it, may have any length."""

SHOWN = 10
"""Number of complaints about one file that are printed in full. The others are counted."""


class UserError(ValueError):
    """An error that the user can correct.

    Its message says where the error is, what was found, what was expected and what to do. A message longer than
    `LONGEST_MESSAGE` loses its middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shorten(message))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {escape_control(str(self))}"]


class _Excerpts(reprlib.Repr):
    """`repr` of a part of a value; the size of the rest does not matter."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = limit
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to format an integer of more than 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"<integer of {x.bit_length():,} bits>"


def excerpt(value: Any, limit: int = 200) -> str:
    """Return at most `limit` characters of the `repr` of an untrusted value, for a message.

    No more than about `limit` characters of a text, and six items of a collection, are ever formatted.
    """
    return shorten(_Excerpts(limit).repr(value), limit)


def shorten(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Return a text unchanged, or with " … " in place of its middle if it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    mark = " … "
    tail = (limit - len(mark)) // 2
    return text[: limit - len(mark) - tail] + mark + text[len(text) - tail :]


def described(error: BaseException) -> str:
    """Return the type and the message of an error for one line of a message."""
    return ": ".join(filter(None, (type(error).__name__, shorten(str(error), 200))))


def escape_control(text: str) -> str:
    """Return the text with escape codes for all characters that could act on a terminal.

    These are control characters, escape sequences and characters that reverse the direction of writing.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def hide_passwords(text: str) -> str:
    """Return a text without the passwords of the URLs in it, whether or not they are valid URLs."""
    text = re.sub(r"(?<=://)([^\s:@/]*):\S*(?=@)", r"\1:***", text)
    return re.sub(r"(?<=password=)[^&\s'\"]*", "***", text)


def combined_error(place: str, complaints: Sequence[str], remedy: str, count: int | None = None) -> UserError:
    """Return one error for all complaints about `place`: the first ten in full, then the number of the others.

    `remedy` is the last line of the message. `count` is the number of complaints if not all of them are given.
    """
    count = len(complaints) if count is None else count
    lines = [f"  - {complaint}" for complaint in complaints[:SHOWN]]
    if count > SHOWN:
        lines.append(f"  - … and {count - SHOWN:,} more")
    number = "1 complaint" if count == 1 else f"{count:,} complaints"
    return UserError("\n".join([f"{place}: {number}", *lines, remedy]))


def first_names(names: Sequence[str], most: int) -> str:
    """Return at most this many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the complaint that no `kind` is called `name`, with the most similar known name as a suggestion."""
    names = sorted(known)
    similar = get_close_matches(name[:200], names, n=1)
    hint = f" Did you mean {similar[0]!r}?" if similar else ""
    return f"no {kind} is called {excerpt(name)}.{hint} Known: {', '.join(names) or 'none'}."


def bounds_complaints(settings: object, bounds: Mapping[str, tuple[bool, str]]) -> list[str]:
    """Return one complaint for each attribute of `settings` that is out of bounds.

    `bounds` maps the attribute's name to whether its value is valid and a description of the valid values.
    """
    return [
        f"{name} = {excerpt(getattr(settings, name))}: expected {valid}."
        for name, (is_valid, valid) in bounds.items()
        if not is_valid
    ]
