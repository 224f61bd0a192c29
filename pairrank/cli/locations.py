"""Which battles a command is about, and where the runs on them are kept."""

from pathlib import Path

from pairrank.cli.console import say
from pairrank.data.folder import DataFolder, find_data


def find_source(folder: Path | None) -> DataFolder:
    """The battles of --data, or what is taken without it; the sample is announced."""
    source = find_data(folder)
    if source.is_sample:
        say(
            "No Dataset/train.csv: using the simulated sample. "
            "Put Kaggle's files there, or give a folder with --data."
        )
    return source


def home_of(runs: Path | None, source: DataFolder) -> Path:
    """The folder of --runs, or runs/NAME-OF-THE-DATA-FOLDER."""
    return runs if runs is not None else Path("runs") / source.name
