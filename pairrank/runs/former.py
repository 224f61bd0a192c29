"""The former results of a run are kept when a changed experiment, input or code replaces them."""

import logging
from datetime import UTC, datetime
from pathlib import Path

from pairrank.atomic import locked
from pairrank.errors import UserError
from pairrank.evaluation.manifest import entered_folders
from pairrank.evaluation.run_record import ENTERED, FILE, FORMER, RESERVED, find_run_record, run_folders
from pairrank.runs.fold_record import FOLD_FILE, read_fold_record

MARK = "~"
"""Separates the name of a run from the date of its former results, as in structure~2026-11-26T081500.000."""

logger = logging.getLogger(__name__)


def keep_former(folder: Path, identity: str) -> None:
    """Move a run's folder away if it has results of another identity; nothing in it is lost.

    It is renamed at once, to history/NAME/DATE next to the runs. What was trained inside its folds is moved back,
    because it may still be current. Other processes may call this for the same folder at the same time.
    """
    if not _has_results_of_another(folder, identity):
        return
    home = folder.parent / FORMER
    if (home / folder.name).resolve() != folder.parent.resolve() / FORMER / folder.name:
        raise UserError(f"{home / folder.name}: a link leads to another folder. Remove it, or use other --runs.")
    home.mkdir(exist_ok=True)
    with locked(home):
        if not _has_results_of_another(folder, identity):  # another process was faster
            return
        record = find_run_record(folder)
        target = _free_name(home / folder.name / date_of(folder))
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        if (target / "inner").is_dir():
            folder.mkdir()
            (target / "inner").rename(folder / "inner")
    logger.info(
        "%s: its former results (%s) are kept as %s, %.1f MB. See `compare --history` and `rm`.",
        folder.name,
        "no log loss" if record is None or record.log_loss is None else f"log loss {record.log_loss:.4f}",
        f"{folder.name}{MARK}{target.name}",
        size_of(target) / 1e6,
    )


def _has_results_of_another(folder: Path, identity: str) -> bool:
    """Return whether a run's folder has results of another identity; if they are damaged, its folds tell."""
    if not (folder / FILE).is_file():
        return False
    if record := find_run_record(folder):
        return record.identity != identity
    folds = [read_fold_record(file.parent) for file in folder.glob(f"fold*/{FOLD_FILE}")]
    return any(fold is not None and fold.identity != identity for fold in folds)


def _free_name(target: Path) -> Path:
    """Return `target`, or the first of target-2, target-3, … that does not exist: copied files may share a date."""
    number = 2
    free = target
    while free.exists():
        free, number = target.with_name(f"{target.name}-{number}"), number + 1
    return free


def date_of(folder: Path) -> str:
    """Return the time (UTC) at which a run's results were written, as the name of a folder."""
    written = datetime.fromtimestamp((folder / FILE).stat().st_mtime, UTC)
    return written.strftime("%Y-%m-%dT%H%M%S.%f")[:-3]


def former_runs(home: Path) -> dict[str, Path]:
    """Return the folder of each former run in the runs folder `home` by its name, NAME~DATE, the oldest first."""
    folders = sorted((home / FORMER).glob(f"[!.]*/[!.]*/{FILE}"))
    return {f"{file.parents[1].name}{MARK}{file.parent.name}": file.parent for file in folders}


def find_run(name: str, home: Path) -> Path:
    """Return the folder of a run, of a former one (NAME~DATE) or of an entry; raises UserError if it is none."""
    others = entered_folders(home / ENTERED) | former_runs(home)
    is_name = name not in ("", ".", "..", *RESERVED) and "/" not in name and "\\" not in name
    folder = home / name if is_name and _is_run(home / name) else others.get(name, home / name)
    # A link at any place of the path would lead to a folder outside of the runs.
    if is_name and folder.is_symlink():
        raise UserError(f"{folder}: this is a link to another folder. Remove the link itself.")
    is_inside = is_name and folder.resolve() == home.resolve() / folder.relative_to(home)
    if not (is_inside and folder.is_dir() and (name in others or _is_run(folder))):
        known = ", ".join([*run_folders(home), *others])
        raise UserError(f"{name}: no run of this name in {home}. Known: {known or 'none'}.")
    return folder


def builds_on(home: Path, name: str) -> list[str]:
    """Return the names of the runs whose inputs are the run of this name."""
    records = {label: find_run_record(folder) for label, folder in run_folders(home).items()}
    return [label for label, record in records.items() if record and name in record.inputs]


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def _is_run(folder: Path) -> bool:
    """Return whether a folder has results, or folds of an unfinished run."""
    return (folder / FILE).is_file() or any(folder.glob("fold*/started.json"))
