"""`rm` removes runs, former results of runs, and entries, with everything in their folders."""

from collections.abc import Sequence
from pathlib import Path

import typer

from pairrank.api.sources import find_source, home_of
from pairrank.cli.console import say
from pairrank.errors import UserError
from pairrank.evaluation.manifest import remove_folder
from pairrank.runs.former import builds_on, find_run, size_of


def remove(names: Sequence[str], data: Path | None, runs: Path | None, sure: bool) -> None:
    """Remove runs after a question; raises UserError for a name that is no run before anything is removed."""
    home = home_of(runs, find_source(data))
    folders = {name: find_run(name, home) for name in names}
    for name, folder in folders.items():
        needed = [label for label in builds_on(home, name) if label not in folders]
        warning = f" {', '.join(needed)} builds on it and can then predict no new battles." if needed else ""
        say(f"{name}: {folder}, {size_of(folder) / 1e6:.1f} MB.{warning}")
    if not sure and not _confirmed():
        raise UserError("nothing was removed.")
    for folder in folders.values():
        remove_folder(folder)
    say(f"Removed: {', '.join(folders)}")


def _confirmed() -> bool:
    """Ask whether to go on; raises UserError if nobody can answer."""
    try:
        return typer.confirm("Remove?")
    except typer.Abort:
        raise UserError(
            "nothing was removed, because there was no answer. To remove without asking: --yes"
        ) from None
