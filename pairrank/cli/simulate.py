"""`simulate` writes simulated battles into a folder."""

import os
from pathlib import Path

from pairrank.cli.console import say
from pairrank.data.predictions import read_predictions
from pairrank.data.reading import stream_battles
from pairrank.data.simulation import write_arena
from pairrank.data.tables import SUFFIXES
from pairrank.errors import UserError


def simulate(folder: Path, train: int, test: int, seed: int, content: float) -> None:
    """Write simulated battles; raises UserError if that would overwrite battles that are not simulated."""
    for part in ("train", "test"):
        for file in (folder / f"{part}{suffix}" for suffix in SUFFIXES):
            if os.path.lexists(file) and not _is_simulated(file, folder / f"{part}-truth.csv"):
                raise UserError(f"{file}: this file is not simulated and would be overwritten. Use another folder.")
    write_arena(folder, train, test, seed, content)
    say(f"Written: {folder}, {train:,} battles to train on and {test:,} to predict. Run them with --data {folder}")


def _is_simulated(file: Path, truth: Path) -> bool:
    """Return whether `simulate` wrote a battle file: only then a file next to it has the same ids."""
    try:
        ids = [name for battles in stream_battles(file) for name in battles.id.tolist()]
        written: list[str] = read_predictions(truth).id.tolist()
    except UserError:
        return False
    return ids == written
