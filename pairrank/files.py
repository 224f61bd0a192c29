"""Nothing half-written: a file is made beside its target and renamed when it is whole; nothing half-read either."""

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
"""Characters: the csv module's own limit of 131,072 is less than one long conversation."""

END = "\0end of file"
"""A line of its own after the last one: a quote that never closes swallows it, which gives the quote away."""


def cache_folder() -> Path:
    """What pairrank can make again and keeps between runs: $PAIRRANK_CACHE, or pairrank in the user's cache."""
    given = os.environ.get("PAIRRANK_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "pairrank"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; it takes the target's place only if the block ends without an error.

    The temporary name keeps the target's suffix, since writers choose their format by it, and carries the
    process number, so that two processes never write to the same place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text with the same line ends on every system."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(target: Path, value: Any) -> None:
    """Write readable JSON; NaN is refused, because JSON has none."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None where there is none, or it is damaged and so to be made again."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def csv_rows(path: Path) -> Iterator[list[str]]:
    """The rows of a .csv or .csv.gz file, header first, blank lines left out.

    Bytes that are not UTF-8 come out as lone surrogates. Raises UserError for a file that is empty or cut off:
    inside a quoted cell, or in its compression.
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
        raise UserError(f"{path}: damaged file ({error}). Download or export it again.") from error
    if last != [END]:
        what = f"a quote that opens in row {rows} never closes"
        raise UserError(f"{path}: damaged file ({what}, row 0 being the header). Download or export it again.")
    if not rows:
        raise UserError(f"{path}: the file is empty. Expected a header and one row per battle.")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; read once a process, unless the file changes."""
    state = path.stat()
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
