"""A file is renamed to its own name once it is complete, and a truncated file is never read in part."""

import csv
import functools
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pairrank.errors import UserError

LARGEST_CELL = 2**31 - 1
"""Longest cell of a CSV file in characters; the csv module's default of 131,072 is less than a long battle."""

END = "\0end of file"
"""A line added after the last one. If a quote is never closed, it becomes part of a cell and reveals the error."""


def cache_folder() -> Path:
    """Return the folder for files that are kept between runs and can be rebuilt.

    It is $PAIRRANK_CACHE, or else the folder `pairrank` in the user's cache folder.
    """
    given = os.environ.get("PAIRRANK_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "pairrank"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`, and rename it to `target` if the block raises no error.

    Missing folders are created. The temporary name keeps the suffix, because writers choose their format by it, and
    contains the process number, so that two processes never write to the same file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text with its line ends unchanged on every system."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON. Raises ValueError for NaN and infinity, which JSON does not have."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if the file is missing, is damaged or does not contain an object.

    The caller then writes the file again.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a .csv or .csv.gz file, header first, without blank lines.

    Bytes that are not UTF-8 become lone surrogates. Raises UserError for an empty file, for a quote that is never
    closed and for damaged compression.
    """
    csv.field_size_limit(LARGEST_CELL)
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    last: list[str] = []
    rows = 0
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for row in csv.reader(chain(file, [END])):
                if last:
                    rows += 1
                    yield last
                last = row
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise UserError(f"{path}: unreadable or damaged file ({error}). Download or export it again.") from error
    if last != [END]:
        raise UserError(
            f"{path}: damaged file (the quote opened in row {rows} is never closed; row 0 is the header). "
            "Download or export it again."
        )
    if not rows:
        raise UserError(f"{path}: the file is empty. Expected a header and one row per battle.")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal. A file is read again only if it has changed."""
    state = path.stat()
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
