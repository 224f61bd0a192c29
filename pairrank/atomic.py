"""A file gets its name once it is complete and on the disk; locks tell a living writer from one that was killed."""

import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEMPORARY = ".pairrank-"
"""Beginning of the name of every temporary file."""

LONGEST_NAME = 255
"""Bytes that the common file systems allow in a name."""


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
