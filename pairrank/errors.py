"""A mistake that its user can mend gets one readable message, never a traceback."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

SHOWN = 10
"""How many complaints of one file are spelled out; the rest are counted."""


class UserError(ValueError):
    """Something the user can put right: the message says where, what was found, what was expected, what to do."""


def combined_error(place: str, complaints: Sequence[str], remedy: str) -> UserError:
    """All complaints about one place in one error: the first ten, and a count of the others."""
    shown = [f"  - {complaint}" for complaint in complaints[:SHOWN]]
    if len(complaints) > SHOWN:
        shown.append(f"  - … and {len(complaints) - SHOWN:,} more")
    count = "1 complaint" if len(complaints) == 1 else f"{len(complaints):,} complaints"
    return UserError("\n".join([f"{place}: {count}", *shown, remedy]))


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that `name` is no known `kind`, with the nearest known name if one is near."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"no {kind} is called {name!r}.{hint} Known: {', '.join(names) or 'none'}."


def bounds_complaints(settings: object, bounds: Mapping[str, tuple[bool, str]]) -> list[str]:
    """A complaint for every setting whose value is not good, from (is it good, what was expected) by name."""
    return [
        f"{name} = {getattr(settings, name)}: expected {what}." for name, (good, what) in bounds.items() if not good
    ]
