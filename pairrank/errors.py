"""A mistake that the user can correct is reported in one readable message, without a traceback."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

SHOWN = 10
"""Number of complaints about one file that are printed in full. The others are counted."""


class UserError(ValueError):
    """An error that the user can correct.

    Its message says where the error is, what was found, what was expected and what to do.
    """


def combined_error(place: str, complaints: Sequence[str], remedy: str) -> UserError:
    """Return one error for all complaints about `place`: the first ten in full, then the number of the others.

    `remedy` is the last line of the message.
    """
    lines = [f"  - {complaint}" for complaint in complaints[:SHOWN]]
    if len(complaints) > SHOWN:
        lines.append(f"  - … and {len(complaints) - SHOWN:,} more")
    count = "1 complaint" if len(complaints) == 1 else f"{len(complaints):,} complaints"
    return UserError("\n".join([f"{place}: {count}", *lines, remedy]))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the complaint that no `kind` is called `name`, with the most similar known name as a suggestion."""
    names = sorted(known)
    similar = get_close_matches(name, names, n=1)
    hint = f" Did you mean {similar[0]!r}?" if similar else ""
    return f"no {kind} is called {name!r}.{hint} Known: {', '.join(names) or 'none'}."


def bounds_complaints(settings: object, bounds: Mapping[str, tuple[bool, str]]) -> list[str]:
    """Return one complaint for each attribute of `settings` that is out of bounds.

    `bounds` maps the attribute's name to whether its value is valid and a description of the valid values.
    """
    return [
        f"{name} = {getattr(settings, name)}: expected {valid}."
        for name, (is_valid, valid) in bounds.items()
        if not is_valid
    ]
