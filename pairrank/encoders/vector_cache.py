"""Vectors of texts on disk, so that nothing is encoded twice: one SQLite file for any number of processes."""

import hashlib
import os
import sqlite3
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

MOST_BYTES = 4 * 2**30
"""How large the file may grow; $PAIRRANK_CACHE_GB changes it."""

ASKED = 500
"""Keys of one query; SQLite allows 999 in its oldest builds."""

WAIT_SECONDS = 60.0
"""How long a process waits for another's writing."""

USED_EVERY = 3_600
"""Seconds within which a second use is not noted again: reading should not write."""


def open_cache() -> "VectorCache | None":
    """The user's cache; None where $PAIRRANK_NO_CACHE is set. Raises UserError for a size that is no number."""
    if os.environ.get("PAIRRANK_NO_CACHE"):
        return None
    gigabytes = os.environ.get("PAIRRANK_CACHE_GB")
    try:
        most = int(float(gigabytes) * 2**30) if gigabytes else MOST_BYTES
    except (ValueError, OverflowError):
        raise UserError(f"PAIRRANK_CACHE_GB = {gigabytes}: expected a number of gigabytes, such as 4.") from None
    return VectorCache(cache_folder() / "vectors.sqlite", most)


@dataclass(frozen=True)
class VectorCache:
    """Vectors by key, the longest unused dropped first when the file is full.

    A cache only saves time: where it cannot be read or written (another process holds it too long, the disk is
    full), vectors are just not there. An entry whose checksum is wrong is not there either, and a file that is no
    database any more is begun anew.
    """

    file: Path
    most_bytes: int = MOST_BYTES

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """The vectors that are there and whole."""

        def read(database: sqlite3.Connection) -> dict[bytes, Vector]:
            found: dict[bytes, Vector] = {}
            now = int(time.time())
            for start in range(0, len(keys), ASKED):
                some = keys[start : start + ASKED]
                among = f"key IN ({','.join('?' * len(some))})"
                rows = database.execute(f"SELECT key, vector, checksum FROM vectors WHERE {among}", some)  # noqa: S608
                found |= {
                    key: np.frombuffer(blob, np.float32) for key, blob, mark in rows if _is_whole(key, blob, mark)
                }
                database.execute(
                    f"UPDATE vectors SET used = ? WHERE {among} AND used < ?",  # noqa: S608
                    [now, *some, now - USED_EVERY],
                )
            return found

        return self._in_transaction(read, {})

    def put(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keep these, all or none of them, and drop the longest unused where there is no room."""
        blobs = {key: vector.astype(np.float32).tobytes() for key, vector in vectors.items()}
        rows = [(key, blob, _mark(key, blob), int(time.time())) for key, blob in blobs.items()]

        def write(database: sqlite3.Connection) -> None:
            database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
            while _bytes(database) > self.most_bytes and (count := _count(database)):
                oldest = "SELECT rowid FROM vectors ORDER BY used, rowid LIMIT ?"
                database.execute(f"DELETE FROM vectors WHERE rowid IN ({oldest})", [max(1, count // 10)])  # noqa: S608

        self._in_transaction(write, None)

    def size(self) -> tuple[int, int]:
        """How many vectors there are, and how many bytes they take."""
        if not self.file.is_file():
            return 0, 0
        return self._in_transaction(lambda database: (_count(database), _bytes(database)), (0, 0))

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` makes of the database, undone as a whole and `otherwise` where something is wrong with it."""
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
            return otherwise  # held by another process, read-only, or the disk is full
        except sqlite3.DatabaseError:
            with suppress(OSError):  # read-only, or open elsewhere on Windows
                self.file.unlink()
            return otherwise


def cache_key(*parts: Any) -> bytes:
    """32 bytes that stand for everything a vector depends on."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()


def _mark(key: bytes, blob: bytes) -> bytes:
    """A checksum that also tells a vector under another's key."""
    return hashlib.sha256(key + blob).digest()[:8]


def _is_whole(key: bytes, blob: Any, mark: Any) -> bool:
    return isinstance(blob, bytes) and mark == _mark(key, blob)


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])


def _bytes(database: sqlite3.Connection) -> int:
    """Bytes in use, free pages left out."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
