"""A large table is often divided into numbered Parquet files, which are read as one or not at all."""

import re
from collections.abc import Iterable
from pathlib import Path

from pairrank.errors import UserError

SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?\.parquet", re.IGNORECASE)
"""NAME-00000-of-00003.parquet, as on the Hugging Face hub; older files have a hash before the ending."""

LISTED = 5
"""Missing shards that a message lists."""


def set_of(name: str) -> tuple[str, int] | None:
    """Return what the shards of one table have in common, their stem and their number; None for another file."""
    found = SHARD.fullmatch(name)
    return (found[1], int(found[3])) if found else None


def complete_set(name: str, files: Iterable[str]) -> list[str]:
    """Return those of `files` that are shards of the same table as `name`, in order; [name] for any other file.

    Raises UserError if a shard is missing, or if there are several of one number.
    """
    common = set_of(name)
    if common is None:
        return [name]
    stem, count = common
    numbered: dict[int, list[str]] = {}
    for file in files:
        if set_of(file) == common:
            numbered.setdefault(int(SHARD.fullmatch(file)[2]), []).append(file)  # type: ignore[index]
    missing = [f"{number:05d}" for number in range(count) if number not in numbered]
    if missing or len(numbered) != count:
        listed = ", ".join(missing[:LISTED]) + (" …" if len(missing) > LISTED else "")
        raise UserError(
            f"{stem}: {len(missing):,} of {count:,} shards are missing: {listed or 'numbers differ'}. A part of a "
            "table would be read as if it were all of it. Download all shards, or rename the one to read."
        )
    if several := next((shards for shards in numbered.values() if len(shards) > 1), None):
        raise UserError(f"{stem}: {', '.join(several[:2])} are the same shard. Remove one of them.")
    return [numbered[number][0] for number in range(count)]


def shards_of(path: Path) -> list[Path]:
    """Return the files of the table that a file is a shard of, in order; [path] for any other file.

    Raises UserError, which begins with the path, if the table is not complete in the folder.
    """
    if set_of(path.name) is None:
        return [path]
    files = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    try:
        return [path.with_name(name) for name in complete_set(path.name, files)]
    except UserError as error:
        raise UserError(f"{path.parent}: {error}") from None


def first_shard(folder: Path, name: str) -> Path | None:
    """Return the first file of a table that is called `name` and divided into shards; None if there is none.

    Raises UserError if the table is not complete, or if there are several divisions of it.
    """
    files = sorted(folder.glob(f"{name}-*.parquet")) if folder.is_dir() else []
    sets = {common for file in files if (common := set_of(file.name)) and common[0] == name}
    if len(sets) > 1:
        raise UserError(f"{folder}: {name} is divided into shards in {len(sets)} ways. Remove one of them.")
    return next((shards_of(file)[0] for file in files if set_of(file.name) in sets), None)
