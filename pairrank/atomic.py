"""A file gets its name once it is complete and on the disk; locks tell a living writer from one that was killed."""

import errno
import functools
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEMPORARY = ".pairrank-"
"""Beginning of the name of every temporary file and folder; 16 random hexadecimal digits follow."""

GENERATED = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{16}}(\..*)?", re.DOTALL)
"""Names that only a temporary file or folder has: no other file is ever removed."""

LONGEST_NAME = 255
"""Bytes that the common file systems allow in a name."""

MOST_LINKS = 40
"""Symbolic links that Linux follows from one path."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`, and rename it to `target` if the block raises no error.

    Missing folders are created. The temporary name keeps the suffix, because writers choose their format by it. A
    symbolic link stays, and the file that it names is replaced by one with the same permissions. A device or a pipe
    is written to and stays what it is; so is whatever the process has open as /dev/stdout. Before the block begins,
    OSError is raised for a folder, for a file that may not be written to, and for a pipe that no program reads. An
    OSError of the block that names no file, such as "No space left on device", names `target`.

    The bytes are on the disk before the name is. After a power cut `target` is therefore the old or the new file,
    and never a mixture or an empty one; of the files written in the last seconds, some may be the old ones.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    try:
        opened = _own_descriptor(target)
        if opened is not None or (target.exists() and not target.is_file()):
            with _open_special(target, opened) as special, temporary_folder(Path(tempfile.gettempdir())) as folder:
                yield (temporary := folder / target.name)
                with temporary.open("rb") as source:
                    shutil.copyfileobj(source, special)
            return
        target = Path(os.path.realpath(target))
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        with _locked_temporary(target.parent, f".{target.name}") as temporary:
            yield temporary
            rename_synced(temporary, target)
            sync(target.parent)
    except OSError as error:
        if error.strerror and (not error.filename or Path(str(error.filename)).name.startswith(TEMPORARY)):
            error.filename, error.filename2 = str(target), None
        raise


def _own_descriptor(target: Path) -> int | None:
    """Return the number of the open file of this process that a path such as /dev/stdout or /dev/fd/3 names.

    The path cannot be replaced like another one: followed to its end, it may lead to a file to which the user
    appends (`>> log`).
    """
    path = target.absolute()
    for _ in range(MOST_LINKS):
        if str(path.parent) in ("/dev/fd", "/proc/self/fd") and path.name.isdecimal():
            return int(path.name)
        try:
            path = path.parent / path.readlink()
        except OSError:  # not a link
            break
    return None


def _open_special(target: Path, opened: int | None) -> BinaryIO:
    """Open a device or a pipe for writing; raises OSError for a pipe that nobody has begun to read in a second."""
    if opened is not None:
        return os.fdopen(os.dup(opened), "wb")
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
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`. It is removed at the end of the block or, after a kill, by a later writer."""
    _remove_abandoned(parent)
    with _locked_temporary(parent) as folder:
        yield folder


@contextmanager
def _locked_temporary(parent: Path, ending: str = "") -> Iterator[Path]:
    """Yield a new file, or a new folder without `ending`, locked during the block and removed at its end.

    Nobody can prepare its name, which is random and must not exist. The lock tells a living writer from one that
    was killed, also in another container, where a process number would say nothing.
    """
    temporary, descriptor = _create_locked(parent, ending)
    try:
        yield temporary
    finally:
        _remove(temporary)
        if descriptor is not None:
            os.close(descriptor)


def _create_locked(parent: Path, ending: str) -> tuple[Path, int | None]:
    """Return a new file, or a new folder without `ending`, and its locked descriptor or None.

    Windows has no such locks and renames no file that is open.
    """
    while True:
        name = f"{TEMPORARY}{secrets.token_hex(8)}"
        if len(os.fsencode(name + ending)) > LONGEST_NAME:
            ending = Path(ending).suffix
        path = parent / (name + ending)
        try:
            if ending:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            else:
                path.mkdir(mode=0o700)
                descriptor = os.open(path, os.O_RDONLY) if fcntl is not None else -1
        except FileNotFoundError:
            if parent.is_dir():  # taken for an abandoned folder before it could be locked
                continue
            raise
        if fcntl is None:
            if descriptor >= 0:
                os.close(descriptor)
            return path, None
        lock(descriptor)
        if path.exists():  # otherwise it was taken for an abandoned one before it was locked
            return path, descriptor
        os.close(descriptor)


@functools.cache
def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed writers from a folder, once in each process.

    Nothing is removed on Windows and on file systems without locks.
    """
    if fcntl is None:
        return
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if GENERATED.fullmatch(entry.name)]
    except PermissionError:  # a folder may be written to and not listed
        return
    for path in found:
        # An error means that it is gone, a link, or another user's.
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if lock(descriptor, wait=False):
                    _remove(path)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time execute such a block for the same folder, which is created.

    On Windows and on file systems without locks, nothing waits.
    """
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
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def rename_synced(source: Path, target: Path) -> None:
    """Rename a complete file once its bytes are on the disk, with the permissions of the file that it replaces."""
    sync(source)
    with suppress(FileNotFoundError):
        shutil.copymode(target, source)
    source.replace(target)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if fcntl is None and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if fcntl is not None else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)
