"""A file is renamed to its own name once it is complete, and a truncated file is never read in part."""

import csv
import errno
import functools
import gzip
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from pairrank.errors import UserError, shorten

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LARGEST_CELL = 2**31 - 1
"""Longest cell of a CSV file in characters; the csv module's default of 131,072 is less than a long battle."""

TEMPORARY = ".pairrank-"
"""Beginning of the name of every temporary file."""

LONGEST_NAME = 255
"""Bytes that the common file systems allow in a name."""

END = "\0end of file"
"""A line added after the last one. If a quote is never closed, it becomes part of a cell and reveals the error."""


CONVERT = "Rename the file if only its name is wrong, or export it again as CSV in UTF-8."


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


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`, and rename it to `target` if the block raises no error.

    Missing folders are created. The temporary name keeps the suffix, because writers choose their format by it. A
    symbolic link stays, and the file that it names is replaced. A device or a pipe is written to and stays what it
    is. Before the block begins, OSError is raised for a folder and for a pipe that no program reads. An OSError of
    the block that names no file, such as "No space left on device", names `target`.

    The bytes are on the disk before the name is. After a power cut `target` is therefore the old or the new file,
    and never a mixture or an empty one; of the files written in the last seconds, some may be the old ones.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder, expected a file", str(target))
    try:
        if target.exists() and not target.is_file():
            with _open_special(target) as special, tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
                yield (temporary := Path(folder) / target.name)
                with temporary.open("rb") as source:
                    shutil.copyfileobj(source, special)
            return
        target = Path(os.path.realpath(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        with _locked_temporary(target) as temporary:
            yield temporary
            rename_synced(temporary, target)
            sync(target.parent)
    except OSError as error:
        if error.strerror and (not error.filename or Path(str(error.filename)).name.startswith(TEMPORARY)):
            error.filename, error.filename2 = str(target), None
        raise


def _open_special(target: Path) -> BinaryIO:
    """Open a device or a pipe for writing; raises OSError for a pipe that nobody has begun to read in a second."""
    deadline = time.monotonic() + 1
    while True:
        try:
            descriptor = os.open(target, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
            break
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


@contextmanager
def _locked_temporary(target: Path) -> Iterator[Path]:
    """Yield a new file beside `target`, which is locked while the block runs and removed at its end.

    Nobody can prepare its name, which is random and must not exist. The lock tells a living writer from one that
    was killed, also in another container or on another machine, where a process number would say nothing.
    """
    temporary, descriptor = _create_locked(target)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _create_locked(target: Path) -> tuple[Path, int | None]:
    """Return a new empty file beside `target`, and its locked descriptor or None.

    Windows has no such locks and renames no file that is open.
    """
    while True:
        name = f"{TEMPORARY}{secrets.token_hex(8)}.{target.name}"
        if len(os.fsencode(name)) > LONGEST_NAME:
            name = name[: len(TEMPORARY) + 16] + target.suffix
        temporary = target.with_name(name)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None:
            os.close(descriptor)
            return temporary, None
        lock(descriptor)
        # Before it was locked, another writer may have taken the file for an abandoned one.
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`. It is removed at the end of the block or, after a kill, by a later writer."""
    _remove_abandoned(parent)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=parent) as name:
        descriptor = None if fcntl is None else os.open(name, os.O_RDONLY)
        try:
            if descriptor is not None:
                lock(descriptor)
            yield Path(name)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed writers from a folder, except on Windows, which has no such locks."""
    if fcntl is None:
        return
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries if entry.name.startswith(TEMPORARY)]
    except PermissionError:  # a folder may be written to and not listed
        return
    for name in names:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # it is gone, a link, or another user's
        try:
            if lock(descriptor, wait=False):
                if Path(name).is_dir():
                    shutil.rmtree(name, ignore_errors=True)
                else:
                    Path(name).unlink(missing_ok=True)
        finally:
            os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time execute such a block for the same folder, which is created, except on Windows."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file until it is closed or its process ends; return whether it is locked now.

    A file has one lock, or several shared ones. Without `wait`, nothing happens if another process has a lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another process has it, or the file system knows no locks
        return False
    return True


def rename_synced(source: Path, target: Path) -> None:
    """Rename a complete file once its bytes are on the disk."""
    sync(source)
    source.replace(target)


def damaged_files(folder: Path, hashes: Mapping[str, str]) -> list[str]:
    """Return the names, relative to `folder`, of the files that are missing or do not have the given SHA-256."""
    return [name for name, expected in hashes.items() if not _has_hash(folder / name, expected)]


def _has_hash(file: Path, expected: str) -> bool:
    try:
        return file.is_file() and sha256_of(file) == expected
    except OSError:
        return False


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


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
    if start[:1] in (b"{", b"["):
        return "JSON"
    # ASCII in UTF-16 without a byte-order mark.
    return "UTF-16" if len(start) > 8 and not any(start[1::2]) and all(start[::2]) else ""


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a .csv or .csv.gz file, header first, without blank lines.

    Bytes that are not UTF-8 become lone surrogates. Raises UserError for an empty file, for a quote that is never
    closed and for damaged compression.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file, or no regular file. Check the path.")
    csv.field_size_limit(LARGEST_CELL)
    is_gzip = path.name.lower().endswith(".gz")
    found, expected = content_of(path), "gzip" if is_gzip else ""
    if found and found != expected:
        raise UserError(f"{path}: the content is {found}, expected {expected or 'CSV in UTF-8'}. {CONVERT}")
    opened: Any = gzip.open if is_gzip else open
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
    return _sha256(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
