"""The texts of a battle are measured once: in this process, and for large tables on this machine.

Measurements are kept in memory, and those of large tables on disk as well. New ones of large tables are computed by
several processes. Neither changes a number.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray
from pairrank.features.groups import GROUPS, Group, find_group
from pairrank.features.parsed_text import ParsedText
from pairrank.progress import with_progress
from pairrank.vector_cache import VectorCache, cache_key, open_cache

Texts = tuple[tuple[str, ...], ...]
"""The turns of the prompt, of A and of B."""

MOST_ROWS = 2**17
"""Largest number of battles whose measurements are kept in memory: about 200 MB with all groups."""
LARGE = 1_000
"""Number of new battles from which the disk and several processes are worth their start."""
BLOCK = 250
"""Battles that a process measures at a time, and that are written together."""

_known: OrderedDict[tuple[tuple[Group, ...], bytes], FloatArray] = OrderedDict()
"""Rows by groups and hash of the texts, least recently used first."""
_is_stream: ContextVar[bool] = ContextVar("_is_stream", default=False)


@contextmanager
def streaming() -> Iterator[None]:
    """Mark a block whose battles are measured for a stream of any length: nothing is kept after it or written."""
    token = _is_stream.set(True)
    try:
        yield
    finally:
        _is_stream.reset(token)
        clear()


def clear() -> None:
    """Release all measurements that are kept in memory."""
    _known.clear()


def measure(battles: Battles, groups: Sequence[Group]) -> FloatArray:
    """Return (n, k) measurements of n battles: those of A, those of B, and those that both share."""
    groups = tuple(groups)
    texts: list[Texts] = list(zip(battles.prompt, battles.response_a, battles.response_b, strict=True))
    hashes = [cache_key(each) for each in texts]
    rows = {each: _known[groups, each] for each in dict.fromkeys(hashes) if (groups, each) in _known}
    missing = {each: text for each, text in zip(hashes, texts, strict=True) if each not in rows}
    rows |= _new_rows(missing, groups)
    for each in dict.fromkeys(hashes):
        _known[groups, each] = rows[each]
        _known.move_to_end((groups, each))
    while len(_known) > MOST_ROWS:
        _known.popitem(last=False)
    return np.array([rows[each] for each in hashes]) if hashes else np.zeros((0, 0))


def _new_rows(missing: dict[bytes, Texts], groups: tuple[Group, ...]) -> dict[bytes, FloatArray]:
    """Return the rows of texts by their hashes, from the disk or measured now."""
    # Functions of the user's own may change without notice, so their numbers are not written.
    is_large = len(missing) >= LARGE and all(group.name in GROUPS for group in groups) and not _is_stream.get()
    disk = open_cache() if is_large else None
    rows = _read(disk, list(missing), groups) if disk else {}
    left = [each for each in missing if each not in rows]
    blocks = [left[start : start + BLOCK] for start in range(0, len(left), BLOCK)]
    computed = _in_blocks([[missing[each] for each in block] for block in blocks], groups)
    steps = with_progress(zip(blocks, computed, strict=True), "features, blocks of battles", len(blocks), delay=2)
    for block, found in steps:
        new = dict(zip(block, found, strict=True))
        rows |= new
        if disk:
            disk.put({_disk_key(each, groups): row.view(np.float32) for each, row in new.items()})
    return rows


def _read(disk: VectorCache, hashes: Sequence[bytes], groups: tuple[Group, ...]) -> dict[bytes, FloatArray]:
    """Return the rows that are on disk. A float64 number is stored as two numbers of 32 bits, bit for bit."""
    keys = {_disk_key(each, groups): each for each in hashes}
    return {keys[key]: row.view(np.float64) for key, row in disk.get(list(keys)).items()}


def _disk_key(texts: bytes, groups: tuple[Group, ...]) -> bytes:
    return cache_key("features", _sources(), [group.name for group in groups], texts)


@cache
def _sources() -> str:
    """Return a hash of everything that a measurement depends on besides the texts."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    sources = [file.read_bytes() for file in files]
    return hashlib.sha256(b"\0".join([*sources, version("py3langid").encode()])).hexdigest()


def _in_blocks(blocks: Sequence[Sequence[Texts]], groups: tuple[Group, ...]) -> Iterator[FloatArray]:
    """Yield the (n, k) rows of each block in order, from several processes if there is enough to do."""
    names = [group.name for group in groups]
    if sum(map(len, blocks)) < LARGE or not set(names) <= set(GROUPS):
        yield from (_measure_block(block, groups) for block in blocks)
        return
    import joblib  # takes a tenth of a second, which small tables need not pay

    # joblib counts the cores that this process may use. A run gets no more processes than it may use threads.
    threads = os.environ.get("OMP_NUM_THREADS", "")
    processes = min(joblib.cpu_count(only_physical_cores=True), int(threads) if threads.isdecimal() else 2**20)
    workers = joblib.Parallel(max(processes, 1), return_as="generator")
    yield from workers(joblib.delayed(_measure_named)(block, names) for block in blocks)


def _measure_named(texts: Sequence[Texts], names: Sequence[str]) -> FloatArray:
    """Return (n, k) measurements of texts. A process gets names, because functions with state cannot be sent."""
    return _measure_block(texts, tuple(map(find_group, names)))


def _measure_block(texts: Sequence[Texts], groups: tuple[Group, ...]) -> FloatArray:
    return np.array([[value for part in measure_one(each, groups) for value in part.values()] for each in texts])


def measure_one(
    texts: Texts, groups: Sequence[Group]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return the measurements of A, of B, and of what both share, by their names."""
    # A cell without any turn is one empty turn, as in a file.
    prompt, *answers = (ParsedText(tuple(turns) or ("",)) for turns in texts)
    a, b = (
        {f"{g.name}.{k}": v for g in groups if g.side for k, v in g.side(answer, prompt).items()}
        for answer in answers
    )
    shared = {f"{g.name}.{k}": v for g in groups if g.prompt for k, v in g.prompt(prompt).items()}
    shared |= {f"{g.name}.{k}": v for g in groups if g.pair for k, v in g.pair(*answers).items()}
    return a, b, shared
