"""Results that many fits of one process share, such as vectors and vocabularies, are computed once."""

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
"""Largest share of the machine's memory that kept results may take. The least recently used are dropped first."""

_kept: OrderedDict[Hashable, tuple[Any, int]] | None = None
"""Results with their sizes in bytes, least recently used first; None outside `memo_scope`."""


@contextmanager
def memo_scope() -> Iterator[None]:
    """Keep the results of `memoise` functions within this block, and release them after the outermost one.

    Outside such a block no result is kept, because a single run uses each result only once.
    """
    global _kept
    before, _kept = _kept, OrderedDict() if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def memoise(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function of hashable arguments to return the same object for equal arguments within `memo_scope`.

    Two tables of battles are equal only if they are the same object, so callers must pass the same object each
    time.
    """

    @wraps(function)
    def memoised(*args: P.args, **kwargs: P.kwargs) -> T:
        if _kept is None:
            return function(*args, **kwargs)
        key = (function, args, tuple(sorted(kwargs.items())))
        if key in _kept:
            _kept.move_to_end(key)
            known: T = _kept[key][0]
            return known
        result = function(*args, **kwargs)
        _kept[key] = result, bytes_of(result)
        while sum(size for _, size in _kept.values()) > most_bytes():
            _kept.popitem(last=False)
        return result

    return memoised


@cache
def most_bytes() -> int:
    """Return how many bytes of results may be kept."""
    return int(SHARE * psutil.virtual_memory().total)


def bytes_of(value: Any) -> int:
    """Return the approximate size of an object and everything it refers to, each object counted once."""
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
