"""Nothing half-written: a file is made beside its target and renamed when it is whole."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; it takes the target's place only if the block ends without an error.

    The temporary name keeps the target's suffix, since writers choose their format by it, and carries the
    process number, so that two processes never write to the same place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text with the same line ends on every system."""
    with written_whole(target) as beside:
        beside.write_bytes(text.encode("utf-8"))


def write_json(target: Path, value: Any) -> None:
    """Write readable JSON; NaN is refused, because JSON has none."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal, read in blocks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
