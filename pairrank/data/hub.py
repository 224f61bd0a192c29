"""Battles of a data set on the Hugging Face hub, at a pinned revision: `--data hf:OWNER/NAME@REVISION`."""

import re
from dataclasses import dataclass
from pathlib import Path

from pairrank.data.shards import complete_set, set_of, shards_of
from pairrank.data.tables import SUFFIXES
from pairrank.errors import UserError
from pairrank.files import cache_folder
from pairrank.network import hub_is_reachable

PREFIX = "hf:"

NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)@([0-9a-f]{7,40})(?:/((?!.*\.\.)[\w./-]+))?", re.ASCII)
"""hf:OWNER/NAME@REVISION, and perhaps the path of a file in it."""

EXPECTED = "expected hf:OWNER/NAME@REVISION or hf:OWNER/NAME@REVISION/FILE, with a commit hash as revision"

UNREACHABLE = (
    "the hub cannot be reached, or the environment forbids it (HF_HUB_OFFLINE is set). Check the network, or "
    "download the file yourself and name it with --data."
)
"""The end of a message."""


def is_hub_name(name: str | Path) -> bool:
    """Return whether --data names a data set on the hub."""
    return str(name).startswith(PREFIX)


def label_of(name: str) -> str:
    """Return the name of a data set on the hub for tables and paths: OWNER-NAME-REVISION, and perhaps the file."""
    found = NAME.fullmatch(name)
    parts = [found[1], found[2][:7], found[3] or ""] if found else [name]
    return "-".join(part.replace("/", "-") for part in parts if part)


def fetch_battles(name: str) -> Path:
    """Return the file of a data set on the hub, downloaded once and kept in pairrank's cache.

    Without a path, it is the only file of battles, or else the one whose name contains "train". Of a table that is
    divided into shards, all are fetched, and the first one is returned. Raises UserError for a name without a
    revision, which would not give the same battles tomorrow, if several files are possible, if a shard is missing
    and, after `PROBE_SECONDS`, if the hub cannot be reached.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise UserError(f"--data {name}: {EXPECTED}.")
    data_set, place = HubDataSet(found[1], found[2]), f"--data {name}"
    if found[3] and (kept := data_set.cached(found[3])):
        return kept
    if not hub_is_reachable():
        raise UserError(f"{place}: {'it is not in the cache, and ' if found[3] else ''}{UNREACHABLE}")
    try:
        if found[3] and set_of(found[3]) is None:
            return data_set.fetch(found[3])
        files = [file for file in data_set.files() if file.lower().endswith(SUFFIXES)]
        shards = complete_set(found[3] or _only(place, files), files)
        first, *_ = map(data_set.fetch, shards)  # all of them are fetched
        return first
    except UserError:
        raise
    except Exception as error:  # of the network, the hub, or its client
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{place}: could not be fetched from the hub ({type(error).__name__}: {reason[:200]}). Check the name, "
            "the revision and the network, or download the file yourself and name it with --data."
        ) from error


@dataclass(frozen=True)
class HubDataSet:
    """A data set on the hub at one revision, with pairrank's cache of its files."""

    identifier: str
    """OWNER/NAME."""
    revision: str
    """A commit hash, perhaps its beginning."""

    def cached(self, path: str) -> Path | None:
        """Return a file that is in the cache, with all shards of its table if it is one; None otherwise."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            self.identifier, path, cache_dir=_cache(), revision=self.revision, repo_type="dataset"
        )
        if not isinstance(found, str):
            return None
        try:
            return shards_of(Path(found))[0]
        except UserError:  # the other shards are not in the cache yet
            return None

    def files(self) -> list[str]:
        """Return the paths of all files, as the hub lists them."""
        from huggingface_hub import HfApi

        return HfApi().list_repo_files(self.identifier, repo_type="dataset", revision=self.revision)

    def fetch(self, path: str) -> Path:
        """Return a file, which is downloaded unless it is in the cache."""
        from huggingface_hub import hf_hub_download

        return Path(
            hf_hub_download(self.identifier, path, repo_type="dataset", revision=self.revision, cache_dir=_cache())
        )


def _cache() -> Path:
    return cache_folder() / "datasets"


def _only(place: str, files: list[str]) -> str:
    """Return the one file of battles to train on, or a shard of the one table.

    Raises UserError if there is none or more than one.
    """
    tables = list({set_of(file) or file: file for file in files}.values())
    named = tables if len(tables) == 1 else [file for file in tables if "train" in file.lower()]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(files[:10]) + (" …" if len(files) > 10 else "")
    raise UserError(f"{place}: found the files {listed or 'none'}. Add one of them: hf:OWNER/NAME@REVISION/FILE.")
