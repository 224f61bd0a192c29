"""A battle's fold is a hash of its prompt, so it is the same in any file, order and subset, and no prompt leaks.

Only groups, such as sessions, make it depend on other battles: those that are connected have one fold.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles, object_array
from pairrank.data.prompt_key_cache import cache_keys, cached_keys
from pairrank.data.turns import repair_text

Folds = npt.NDArray[np.int64]
"""(n,) fold indices from 0."""


LARGEST_SHARE = 0.2
"""Share of the battles that one fold of five should have, and connected battles should not exceed."""

K = TypeVar("K", str, int)


def prompt_key(battle_prompt: tuple[str, ...]) -> str:
    """Return the key that equal prompts share: the first turn in NFKC, casefolded, with white space collapsed."""
    text = nfkc(repair_text(next(iter(battle_prompt), "")))
    return " ".join(text.split()).casefold()


def nfkc(text: str) -> str:
    """Return a text in the normalisation form NFKC, in a time that is linear in its length.

    `unicodedata.normalize` sorts every sequence of combining marks by insertion, whose time is quadratic. A long
    sequence is therefore decomposed and sorted before, which does not change the result: the canonical order is a
    stable sort by combining class (Unicode Standard, section 3.11).
    """
    if not text.isascii() and len(text) > LONG:
        text = _long_marks().sub(_sorted_marks, text)
    return unicodedata.normalize("NFKC", text)


LONG = 1_000
"""Characters of a text whose normalisation takes a millisecond at most."""


MARKS_END = 0x20000
"""No combining mark has this code point or a greater one."""


@cache
def _long_marks() -> re.Pattern[str]:
    """Return a pattern for sequences of 30 or more characters that are, or begin in, combining marks."""
    decomposed = ((chr(code), unicodedata.normalize("NFKD", chr(code))) for code in range(0x300, MARKS_END))
    marks = "".join(re.escape(char) for char, marks in decomposed if unicodedata.combining(marks[0]))
    return re.compile(f"[{marks}]{{30,}}")


def _sorted_marks(found: re.Match[str]) -> str:
    """Return a sequence of combining marks, decomposed and in canonical order."""
    marks = "".join(unicodedata.normalize("NFKD", char) for char in found[0])
    return "".join(sorted(marks, key=unicodedata.combining))


def prompt_keys(battles: Battles) -> list[str]:
    """Return the n prompt keys of n battles, in their order; they are computed once for a column of prompts."""
    keys = cached_keys(battles.prompt)
    if keys is None:
        keys = object_array([prompt_key(prompt) for prompt in battles.prompt])
        cache_keys(battles.prompt, keys)
    found: list[str] = keys.tolist()
    return found


def exclusion_keys(battles: Battles) -> frozenset[str]:
    """Return the keys of all prompts and groups of battles, which no battle of another source may have."""
    return frozenset().union(*map(_keys_of, prompt_keys(battles), _groups(battles)))


def is_excluded(battles: Battles, keys: AbstractSet[str]) -> npt.NDArray[np.bool_]:
    """Return (n,) whether a battle has a prompt or a group whose key is among these."""
    found = [
        not keys.isdisjoint(_keys_of(*pair)) for pair in zip(prompt_keys(battles), _groups(battles), strict=True)
    ]
    return np.array(found, dtype=np.bool_)


def _groups(battles: Battles) -> list[str]:
    return [""] * len(battles) if battles.group is None else battles.group.tolist()


def _keys_of(prompt: str, group: str) -> set[str]:
    """Return the key of a prompt and, marked so that it is never that of a prompt, of a group."""
    return {prompt, f"\0{group}"} if group else {prompt}


def split_keys(battles: Battles) -> list[str]:
    """Return the n keys by which n battles are divided: equal for battles that share a prompt or a group.

    Battles are connected, directly or through others, by their prompts and their groups. The key of connected
    battles is the smallest of their prompt keys; without groups it is the prompt key.
    """
    keys = prompt_keys(battles)
    return keys if battles.group is None else connected_keys(keys, battles.group)


def connected_keys(keys: Sequence[K], groups: Iterable[K]) -> list[K]:
    """Return for each of n battles the smallest key of those that its key and its group connect it with.

    A group that is "" or 0 connects nothing.
    """
    smallest: dict[tuple[str, K], K] = {}  # by the root of a tree
    parent: dict[tuple[str, K], tuple[str, K]] = {}

    def root(node: tuple[str, K]) -> tuple[str, K]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]  # halves the path
            node = above
        return node

    for key, group in zip(keys, groups, strict=True):
        one = root(("prompt", key))
        smallest.setdefault(one, key)
        if group:
            other = root(("group", group))
            if one != other:
                parent[other] = one
                smallest[one] = min(smallest[one], smallest.get(other, key))
    return [smallest[root(("prompt", key))] for key in keys]


def uneven(keys: Sequence[str] | Sequence[int]) -> str:
    """Return a warning if more than `LARGEST_SHARE` of the battles have one split key; "" otherwise.

    Fewer than 50 battles are not warned about, because such shares are accidental among few.
    """
    n = len(keys)
    largest = max(Counter[str | int](keys).values(), default=0)
    if n < 50 or largest <= LARGEST_SHARE * n:
        return ""
    return (
        f"{largest:,} of {n:,} battles ({largest / n:.0%}) are connected by the same prompts and groups, and are "
        f"therefore all in one fold, which should have {LARGEST_SHARE:.0%}. Remove battles with prompts that many "
        "groups share, such as greetings, or the column of the groups if these are not sessions or questions."
    )


def fold_of(key: str, k: int = 5, salt: str = "") -> int:
    """Return the fold of a prompt key, from 0 to k - 1.

    It is the first 8 bytes (big-endian) of SHA-256 over the salt, a zero byte and the key, modulo k. Salt "" gives
    the scored folds. Every inner split needs another salt, because the same hash modulo another number is not
    independent of the scored folds.
    """
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % k


def assign_folds(battles: Battles, k: int = 5, salt: str = "") -> Folds:
    """Return the (n,) folds of n battles, from 0 to k - 1."""
    return np.array([fold_of(key, k, salt) for key in split_keys(battles)], dtype=np.int64)


def name_folds(folds: Iterable[int]) -> str:
    """Return fold indices as text for a message: "fold 4" or "folds 0, 1, 2, 3"."""
    numbers = sorted(folds)
    return f"fold{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def hold_out(battles: Battles, share: float, salt: str) -> npt.NDArray[np.bool_]:
    """Return an (n,) mask of about `share` of the battles as an inner validation set.

    All battles of a prompt are on the same side of the split. Raises ValueError for salt "", whose split depends on
    the same hash as the scored folds.
    """
    if not salt:
        raise ValueError('salt "" gives the scored folds; an inner split needs another salt')
    thousandths = assign_folds(battles, 1000, salt)
    held: npt.NDArray[np.bool_] = thousandths < round(share * 1000)
    return held
