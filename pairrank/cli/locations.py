"""The data of a command, and the folder of the runs on it."""

from pathlib import Path

from pairrank.cli.console import say
from pairrank.data.folder import DataFolder, find_data


def find_source(folder: Path | None) -> DataFolder:
    """Return the data of --data or the default, and print a line if that is the sample."""
    source = find_data(folder)
    if source.is_sample:
        say(
            "No Dataset/train.csv: using the simulated sample. "
            "Put Kaggle's files there, or name a folder with --data."
        )
    return source


def home_of(runs: Path | None, source: DataFolder) -> Path:
    """Return the folder of --runs, or runs/NAME-OF-THE-DATA-FOLDER."""
    return runs if runs is not None else Path("runs") / source.name
