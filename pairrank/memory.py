"""What many fits of one process have in common is made once: vectors, vocabularies, guesses."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MOST = 128
"""Results that are kept, the longest unused dropped first: about what four folds need under a dozen settings."""

_kept: OrderedDict[Hashable, Any] | None = None


@contextmanager
def remembering() -> Iterator[None]:
    """Within this block, `remembered` functions keep what they made; after it, all of that is let go.

    Outside, nothing is kept: a single run asks for each result once, and would only hold on to its memory.
    """
    global _kept
    before, _kept = _kept, OrderedDict() if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """A function of hashable arguments that gives the same object again within `remembering`.

    Battles are told apart by which object they are, not by what they hold: keep hold of them.
    """

    @wraps(function)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        if _kept is None:
            return function(*args, **kwargs)
        key = (function, args, tuple(sorted(kwargs.items())))
        if key not in _kept:
            _kept[key] = function(*args, **kwargs)
            if len(_kept) > MOST:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        made: T = _kept[key]
        return made

    return asked
