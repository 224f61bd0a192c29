"""Prompt keys are computed once for a column of prompts: every split, bootstrap and exclusion needs them."""

import weakref

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.object_]

_keys: dict[int, tuple[weakref.ref[Column], Column]] = {}
"""Prompt keys by the `id` of the column of prompts that they belong to, for as long as that column exists."""


def cached_keys(prompts: Column) -> Column | None:
    """Return the (n,) keys that `cache_keys` has kept for this very column of (n,) prompts, or None."""
    column, keys = _keys.get(id(prompts), (None, None))
    return keys if column is not None and column() is prompts else None


def cache_keys(prompts: Column, keys: Column) -> None:
    """Keep the (n,) keys of (n,) prompts for as long as the column of prompts exists.

    They belong to the column and not to the table, because tables share columns; another column of prompts never
    gets them.
    """
    place = id(prompts)
    _keys[place] = weakref.ref(prompts, lambda _: _keys.pop(place, None)), keys
