"""The texts of a battle are measured once: in this process, and for large tables on this machine.

Measurements are kept in memory, and those of large tables on disk as well, which changes no number.
"""

import hashlib
import logging
import sys
import unicodedata
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

from pairrank.cores import usable_threads
from pairrank.data import turns
from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray
from pairrank.features.groups import GROUPS, Group
from pairrank.features.parsed_text import ParsedText
from pairrank.progress import with_progress
from pairrank.vector_cache import VectorCache, cache_key, open_cache

logger = logging.getLogger(__name__)

Texts = tuple[tuple[str, ...], ...]
"""The turns of the prompt, of A and of B."""

MOST_ROWS = 2**17
"""Largest number of battles whose measurements are kept in memory: about 200 MB with all groups."""
LARGE = 1_000
"""Number of new battles from which the disk is used: fewer are measured in a second or two."""
BLOCK = 250
"""Battles that are measured and written together."""
PARALLEL = 10_000
"""Number of new battles from which all cores measure in processes of their own, which start in a second."""
IDLE = 10
"""Seconds without work after which such a process ends."""

_known: OrderedDict[tuple[tuple[Group, ...], bytes], FloatArray] = OrderedDict()
"""Rows by groups and hash of the texts, least recently used first."""
_lock = Lock()
"""Held while `_known` is read or changed: threads of one process may measure at the same time."""
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
    with _lock:
        _known.clear()


def measure(battles: Battles, groups: Sequence[Group]) -> FloatArray:
    """Return (n, k) measurements of n battles: those of A, those of B, and those that both share."""
    groups = tuple(groups)
    texts: list[Texts] = list(zip(battles.prompt, battles.response_a, battles.response_b, strict=True))
    hashes = list(map(_hash, texts))
    with _lock:
        rows = {each: _known[groups, each] for each in dict.fromkeys(hashes) if (groups, each) in _known}
    missing = {each: text for each, text in zip(hashes, texts, strict=True) if each not in rows}
    rows |= _new_rows(missing, groups)
    with _lock:
        for each in dict.fromkeys(hashes):
            _known[groups, each] = rows[each]
            _known.move_to_end((groups, each))
        while len(_known) > MOST_ROWS:
            _known.popitem(last=False)
    return np.array([rows[each] for each in hashes]) if hashes else np.zeros((0, 0))


def _hash(texts: Texts) -> bytes:
    """Return the SHA-256 of texts. Their lengths are part of it, so that no two battles give the same bytes."""
    digest = hashlib.sha256()
    for each in texts:
        digest.update(len(each).to_bytes(8))
        for text in each:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8))
            digest.update(encoded)
    return digest.digest()


def _new_rows(missing: dict[bytes, Texts], groups: tuple[Group, ...]) -> dict[bytes, FloatArray]:
    """Return the rows of texts by their hashes, from the disk or measured now."""
    # Functions of the user's own may change without notice, so their numbers are neither written nor read.
    is_large = len(missing) >= LARGE and all(group.name in GROUPS for group in groups)
    disk = open_cache() if is_large else None
    rows = _read(disk, list(missing), groups) if disk else {}
    left = [each for each in missing if each not in rows]
    blocks = [left[start : start + BLOCK] for start in range(0, len(left), BLOCK)]
    processes = usable_threads() if is_large and len(left) >= PARALLEL else 1
    texts = [[missing[each] for each in block] for block in blocks]
    measured = with_progress(
        _measure_blocks(texts, groups, processes), f"features, blocks of {BLOCK} battles", len(blocks), delay=2
    )
    for block, values in zip(blocks, measured, strict=True):
        new = dict(zip(block, values, strict=True))
        rows |= new
        if disk and not _is_stream.get():
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
    """Return a hash of what a measurement depends on besides the texts: code, numpy, Unicode's tables and zlib."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(turns.__file__)]
    versions = (sys.version, np.__version__, unicodedata.unidata_version, zlib.ZLIB_RUNTIME_VERSION)
    return hashlib.sha256(b"\0".join([*(file.read_bytes() for file in files), repr(versions).encode()])).hexdigest()


def _measure_blocks(
    blocks: Sequence[Sequence[Texts]], groups: tuple[Group, ...], processes: int
) -> Iterator[FloatArray]:
    """Yield the measurements of each block, in the order of the blocks, measured by this number of processes."""
    done = 0
    if processes > 1:
        from joblib import Parallel, delayed

        # Unlike those of the standard library, joblib's processes need no guard in the user's main program. They
        # end when they have been idle for some seconds, even if this process was killed.
        parallel = Parallel(processes, "loky", "generator", batch_size=1, idle_worker_timeout=IDLE)
        try:
            for rows in parallel(delayed(_measure_block)(block, groups) for block in blocks):
                yield rows
                done += 1
        except BrokenProcessPool:
            logger.warning("a process that measured features was killed; this process measures the rest")
    for block in blocks[done:]:
        yield _measure_block(block, groups)


def _measure_block(texts: Sequence[Texts], groups: tuple[Group, ...]) -> FloatArray:
    """Return (n, k) measurements of texts."""
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
