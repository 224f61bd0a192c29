"""What many fits of one process have in common is made once: vectors, vocabularies, guesses."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import psutil

P = ParamSpec("P")
T = TypeVar("T")

SHARE = 0.25
"""Of the machine's memory: results that are kept take no more, the longest unused dropped first."""

_kept: OrderedDict[Hashable, tuple[Any, int]] | None = None
"""Results, with the bytes each takes."""


@contextmanager
def memo_scope() -> Iterator[None]:
    """Within this block, `memoise` functions keep what they made; after it, all of that is let go.

    Outside, nothing is kept: a single run asks for each result once, and would only hold on to its memory.
    """
    global _kept
    before, _kept = _kept, OrderedDict() if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def memoise(function: Callable[P, T]) -> Callable[P, T]:
    """A function of hashable arguments that gives the same object again within `memo_scope`.

    Battles are told apart by which object they are, not by what they hold: keep hold of them.
    """

    @wraps(function)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        if _kept is None:
            return function(*args, **kwargs)
        key = (function, args, tuple(sorted(kwargs.items())))
        if key in _kept:
            _kept.move_to_end(key)
            known: T = _kept[key][0]
            return known
        made = function(*args, **kwargs)
        _kept[key] = made, bytes_of(made)
        while sum(size for _, size in _kept.values()) > most_bytes():
            _kept.popitem(last=False)
        return made

    return asked


@cache
def most_bytes() -> int:
    """How much may be kept."""
    return int(SHARE * psutil.virtual_memory().total)


def bytes_of(value: Any) -> int:
    """About what an object takes with all that it holds, each part counted once."""
    seen: set[int] = set()
    waiting, total = [value], 0
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        total += part.nbytes if isinstance(part, np.ndarray) else sys.getsizeof(part)
        if isinstance(part, np.ndarray) and part.dtype == object:
            waiting += part.ravel().tolist()
        elif isinstance(part, Mapping):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part
        elif hasattr(part, "__dict__") and not isinstance(part, type):
            waiting += vars(part).values()
    return total
