"""Battles of a data set on the Hugging Face hub, at a pinned revision: `--data hf:OWNER/NAME@REVISION`."""

import os
import re
from pathlib import Path

from pairrank.data.tables import SUFFIXES
from pairrank.errors import UserError
from pairrank.files import cache_folder

PREFIX = "hf:"

NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)@([0-9a-f]{7,40})(?:/((?!.*\.\.)[\w./-]+))?", re.ASCII)
"""hf:OWNER/NAME@REVISION, and perhaps the path of a file in it."""

EXPECTED = "expected hf:OWNER/NAME@REVISION or hf:OWNER/NAME@REVISION/FILE, with a commit hash as revision"


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

    Without a path, it is the only file of battles, or else the one whose name contains "train". Raises UserError
    for a name without a revision, which would not give the same battles tomorrow, if the hub cannot be reached, and
    if several files are possible.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise UserError(f"--data {name}: {EXPECTED}.")
    identifier, revision, path = found.groups()
    from huggingface_hub import HfApi, hf_hub_download

    place = f"--data {name}"
    if os.environ.get("HF_HUB_OFFLINE") == "1" and path is None:
        raise UserError(f"{place}: HF_HUB_OFFLINE is set, so the files of the data set cannot be listed. Name one.")
    try:
        if path is None:
            files = HfApi().list_repo_files(identifier, repo_type="dataset", revision=revision)
            path = _only(place, [file for file in files if file.lower().endswith(SUFFIXES)])
        return Path(
            hf_hub_download(
                identifier, path, repo_type="dataset", revision=revision, cache_dir=cache_folder() / "datasets"
            )
        )
    except UserError:
        raise
    except Exception as error:  # of the network, the hub, or its client
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{place}: could not be fetched from the hub ({type(error).__name__}: {reason[:200]}). Check the name, "
            "the revision and the network, or download the file yourself and name it with --data."
        ) from error


def _only(place: str, files: list[str]) -> str:
    """Return the one file of battles to train on; raises UserError if there is none or more than one."""
    named = files if len(files) == 1 else [file for file in files if "train" in file.lower()]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(files[:10]) + (" …" if len(files) > 10 else "")
    raise UserError(f"{place}: found the files {listed or 'none'}. Add one of them: hf:OWNER/NAME@REVISION/FILE.")
