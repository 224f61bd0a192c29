"""Files are read completely or not at all, and their content is known by its hash."""

import codecs
import csv
import functools
import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pairrank.atomic import atomic_path
from pairrank.errors import UserError, shorten

LARGEST_CELL = 2**31 - 1
"""Longest cell of a CSV file in characters; the csv module's default of 131,072 is less than a long battle."""

END = "\0end of file"
"""A line added after the last one. If a quote is never closed, it becomes part of a cell and reveals the error."""

CONVERT = "Rename the file if only its name is wrong, or export it again as CSV in UTF-8."
"""Remedy for a file with content of another kind."""


def cache_folder() -> Path:
    """Return the folder for files that are kept between runs and can be rebuilt.

    It is $PAIRRANK_CACHE, or else the folder `pairrank` in the user's cache folder. Raises UserError if the user
    has no home folder.
    """
    if given := os.environ.get("PAIRRANK_CACHE"):
        return Path(given)
    if base := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(base) / "pairrank"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise UserError("This user has no home folder for the cache. Set PAIRRANK_CACHE to a folder.")
    return home / ".cache" / "pairrank"


def damaged_files(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    """Return the names, relative to `folder`, of the files that are missing or do not have the given SHA-256.

    A name that leads out of the folder counts as missing.
    """
    return [name for name, expected in hashes.items() if not _has_hash(folder, name, expected)]


def _has_hash(folder: Path, name: str, expected: str) -> bool:
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    try:
        return inside and (folder / name).is_file() and sha256_of(folder / name) == expected
    except (OSError, ValueError):  # ValueError: a null character in a name
        return False


@contextmanager
def reading(path: Path | str, remedy: str = "Download or export it again.") -> Iterator[None]:
    """Turn every error of reading a user's file in this block into a UserError that begins with its path.

    A file that the system does not open is not called damaged. Any other exception, whichever library it comes
    from, means that the file's content is not what was expected; `remedy` says what to do then.
    """
    try:
        yield
    except (UserError, MemoryError, ImportError):
        raise
    except OSError as error:
        if error.errno is None:  # raised by a library about the content
            raise _content_error(path, error, remedy) from error
        raise UserError(f"{path}: {error.strerror}.") from error
    except Exception as error:
        raise _content_error(path, error, remedy) from error


def _content_error(path: Path | str, error: Exception, remedy: str) -> UserError:
    lines = str(error).strip().splitlines()
    reason = type(error).__name__ + (f": {shorten(lines[0], 200)}" if lines else "")
    return UserError(f"{path}: damaged file, or a file of another format ({reason}). {remedy}")


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text with its line ends unchanged on every system."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON. Raises ValueError for NaN and infinity, which JSON does not have."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if the file is missing, is damaged or does not contain an object.

    The caller then writes the file again. Raises OSError for a file that may not be read.
    """
    try:
        # A pipe is never read: opening it would wait for a writer.
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def content_of(path: Path) -> str:
    """Return the kind of content that the first bytes of a file show, such as "gzip"; "" for none of the known."""
    with reading(path), path.open("rb") as file:
        start = file.read(64)
    known = {b"\x1f\x8b": "gzip", b"PAR1": "Parquet", b"PK\x03\x04": "a zip archive", b"\xff\xfe": "UTF-16"}
    known |= {b"\xfe\xff": "UTF-16", b"\x89PNG": "a picture", b"%PDF": "PDF", b"SQLite format 3": "SQLite"}
    for beginning, kind in known.items():
        if start.startswith(beginning):
            return kind
    if start.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"["):
        return "JSON"
    # ASCII in UTF-16 without a byte-order mark: every second byte is zero.
    halves = start[::2], start[1::2]
    return "UTF-16" if len(start) > 8 and any(all(x) and not any(y) for x, y in (halves, halves[::-1])) else ""


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, perhaps compressed with gzip, header first, without blank lines.

    Bytes that are not UTF-8 become lone surrogates. Raises UserError for an empty file, for a quote that is never
    closed and for damaged compression.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file, or no regular file. Check the path.")
    csv.field_size_limit(LARGEST_CELL)
    found = content_of(path)
    if found not in ("", "gzip"):
        raise UserError(f"{path}: the content is {found}, expected CSV in UTF-8. {CONVERT}")
    opened: Any = gzip.open if found else open  # whatever the file is called
    last: list[str] = []
    rows = 0
    with reading(path), opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for row in csv.reader(chain(file, [END])):
            if last:
                rows += 1
                yield last
            last = row
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
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
