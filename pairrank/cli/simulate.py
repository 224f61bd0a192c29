"""`simulate` writes simulated battles into a folder."""

from pathlib import Path

from pairrank.cli.console import say
from pairrank.data.reading import SUFFIXES
from pairrank.data.simulation import write_arena
from pairrank.errors import UserError


def simulate(folder: Path, train: int, test: int, seed: int) -> None:
    """Write simulated battles; raises UserError if that would overwrite battles that are not simulated."""
    for part in ("train", "test"):
        real = [folder / f"{part}{suffix}" for suffix in SUFFIXES if (folder / f"{part}{suffix}").exists()]
        if real and not (folder / f"{part}-truth.csv").exists():
            raise UserError(f"{real[0]}: this file is not simulated and would be overwritten. Use another folder.")
    write_arena(folder, train, test, seed)
    say(f"Written: {folder}, {train:,} battles to train on and {test:,} to predict. Run them with --data {folder}")
