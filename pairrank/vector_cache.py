"""Vectors of texts are cached on disk, in one SQLite file that any number of processes use at the same time."""

import hashlib
import logging
import os
import shlex
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pairrank.errors import UserError
from pairrank.files import cache_folder

Vector = npt.NDArray[np.float32]
T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_BYTES = 4 * 2**30
"""Size limit of the file if $PAIRRANK_CACHE_GB is not set."""

KEYS_PER_QUERY = 500
"""Keys per query. The oldest builds of SQLite allow 999 parameters."""

WAIT_SECONDS = 60.0
"""Seconds that a process waits while another one writes."""

USE_SECONDS = 3_600
"""Seconds before the time of use of a vector is updated again, so that most reads do not write."""


def open_cache() -> "VectorCache | None":
    """Return the user's cache, or None if $PAIRRANK_NO_CACHE is set.

    $PAIRRANK_CACHE_GB sets its largest size; raises UserError if that is not a number.
    """
    if os.environ.get("PAIRRANK_NO_CACHE"):
        return None
    gigabytes = os.environ.get("PAIRRANK_CACHE_GB")
    try:
        max_bytes = int(float(gigabytes) * 2**30) if gigabytes else MAX_BYTES
    except (ValueError, OverflowError):
        raise UserError(f"PAIRRANK_CACHE_GB = {gigabytes}: expected a number of gigabytes, such as 4.") from None
    file = cache_folder() / "vectors.sqlite"
    if problem := _make_private(file):
        logger.warning("%s: %s, so it is not used. Set PAIRRANK_CACHE to a folder of your own.", file, problem)
        return None
    return VectorCache(file, max_bytes)


def _make_private(file: Path) -> str:
    """Allow only its owner to write the cache; return "" or why another user might change its entries.

    An entry has a checksum, which whoever can write the file can compute as well. The file is created if it does
    not exist, and created anew if others could write it. Windows gives each user a private folder.
    """
    if sys.platform == "win32":
        return ""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = file.parent.stat()
        if folder.st_uid not in (0, os.getuid()) or folder.st_mode & 0o022:  # then others can replace the file
            return f"other users may write to its folder (chmod go-w {shlex.quote(str(file.parent))})"
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
        state = file.lstat()
        if not stat.S_ISREG(state.st_mode):
            return "it is not a regular file"
        if state.st_uid != os.getuid():
            return f"it belongs to another user (number {state.st_uid})"
        if state.st_mode & 0o022:
            file.unlink()
            os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return ""  # a cache that cannot be used only costs time
    return ""


@dataclass(frozen=True)
class VectorCache:
    """Vectors by key in one file; when it is full, the vectors that were unused for longest are deleted.

    A cache only saves time, so a failure to read or write it is not an error: the vectors count as missing. That
    holds for a full disk, for a file that another process locks too long, and for an entry with a wrong checksum. A
    file that is not a database is deleted.
    """

    file: Path
    max_bytes: int = MAX_BYTES

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Return the vectors of those keys that have an undamaged entry."""

        def read(database: sqlite3.Connection) -> dict[bytes, Vector]:
            found: dict[bytes, Vector] = {}
            now = int(time.time())
            for start in range(0, len(keys), KEYS_PER_QUERY):
                batch = keys[start : start + KEYS_PER_QUERY]
                among = f"key IN ({','.join('?' * len(batch))})"
                rows = database.execute(f"SELECT key, vector, checksum FROM vectors WHERE {among}", batch)  # noqa: S608
                found |= {
                    key: np.frombuffer(blob, np.float32)
                    for key, blob, checksum in rows
                    if _is_undamaged(key, blob, checksum)
                }
                database.execute(
                    f"UPDATE vectors SET used = ? WHERE {among} AND used < ?",  # noqa: S608
                    [now, *batch, now - USE_SECONDS],
                )
            return found

        return self._in_transaction(read, {})

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Store all of these vectors or none, and delete the longest unused ones if the file is too large."""
        blobs = {key: vector.astype(np.float32).tobytes() for key, vector in vectors.items()}
        rows = [(key, blob, _checksum(key, blob), int(time.time())) for key, blob in blobs.items()]

        def write(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
            while _bytes(database) > self.max_bytes and (count := _count(database)):
                oldest = "SELECT rowid FROM vectors ORDER BY used, rowid LIMIT ?"
                database.execute(f"DELETE FROM vectors WHERE rowid IN ({oldest})", [max(1, count // 10)])  # noqa: S608

        self._in_transaction(write, None)

    def size(self) -> tuple[int, int]:
        """Return the number of vectors and the bytes they use."""
        if not self.file.is_file():
            return 0, 0
        return self._in_transaction(lambda database: (_count(database), _bytes(database)), (0, 0))

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Return the result of `work` in one transaction; on a failure roll back and return `default`."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file, timeout=WAIT_SECONDS)) as database:
                database.execute("PRAGMA synchronous = NORMAL")
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    database.execute(
                        "CREATE TABLE IF NOT EXISTS vectors "
                        "(key BLOB PRIMARY KEY, vector BLOB, checksum BLOB, used INTEGER)"
                    )
                    return work(database)
        except (sqlite3.OperationalError, OSError):
            return default  # locked by another process, read-only, or the disk is full
        except sqlite3.DatabaseError:
            with suppress(OSError):  # read-only, or open elsewhere on Windows
                self.file.unlink()
            return default


def cache_key(*parts: Any) -> bytes:
    """Return the SHA-256 of everything that a vector depends on, as 32 bytes."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()


def _checksum(key: bytes, blob: bytes) -> bytes:
    """Return a checksum of a vector that is wrong under any other key."""
    return hashlib.sha256(key + blob).digest()[:8]


def _is_undamaged(key: bytes, blob: Any, checksum: Any) -> bool:
    return isinstance(blob, bytes) and checksum == _checksum(key, blob)


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])


def _bytes(database: sqlite3.Connection) -> int:
    """Return the bytes in use, without free pages."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
