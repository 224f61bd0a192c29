"""`rm` removes runs, and former results of runs, with everything in their folders."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import typer

from pairrank.cli.console import say
from pairrank.cli.locations import find_source, home_of
from pairrank.errors import UserError
from pairrank.runs.former import builds_on, find_run, size_of


def remove(names: Sequence[str], data: Path | None, runs: Path | None, sure: bool) -> None:
    """Remove runs after a question; raises UserError for a name that is no run before anything is removed."""
    home = home_of(runs, find_source(data))
    folders = {name: find_run(name, home) for name in names}
    for name, folder in folders.items():
        needed = [label for label in builds_on(home, name) if label not in folders]
        warning = f" {', '.join(needed)} builds on it and can then predict no new battles." if needed else ""
        say(f"{name}: {folder}, {size_of(folder) / 1e6:.1f} MB.{warning}")
    if not sure and not typer.confirm("Remove?"):
        raise UserError("nothing was removed.")
    for folder in folders.values():
        # Renamed first: a run that is removed in part must not count as a run.
        doomed = folder.with_name(f".removed.{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)
    say(f"Removed: {', '.join(folders)}")
