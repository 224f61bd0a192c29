"""The battles that a function works on, from files or from memory, and the folder of the runs on them."""

import atexit
import logging
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from pairrank.data.battles import Battles
from pairrank.data.folder import DataFolder, find_data
from pairrank.data.frames import from_dataframe
from pairrank.data.reading import Damage
from pairrank.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BattlesInMemory:
    """Battles that a program has made or read itself."""

    train: Battles
    """The training battles, which have winners."""
    test: Battles | None = None
    """The battles to predict; None if there are none."""
    name: str = "battles"
    """Name of the data in tables."""
    path: ClassVar[Path] = Path("the given battles")
    """Stands for a path in messages."""
    excluded_prompts: ClassVar[frozenset[str]] = frozenset()
    """Empty, because only the test battles exclude prompts."""
    truth: ClassVar[None] = None
    """The true probabilities are unknown."""
    is_sample: ClassVar[bool] = False

    @property
    def unlabelled(self) -> Battles | None:
        """The battles to predict, whose texts may be learned from."""
        return self.test

    def __post_init__(self) -> None:
        _ = self.train.labels  # raises UserError if there are none
        if not len(self.train):
            raise UserError(f"{self.path}: contains no battles. Expected one or more.")


Source = DataFolder | BattlesInMemory
BattlesLike: TypeAlias = "Battles | pd.DataFrame"
"""Battles, or a DataFrame of any schema that a file may have."""
DataLike: TypeAlias = "Source | Battles | pd.DataFrame | str | Path | None"
"""A folder, a file, a name on the Hugging Face hub, or battles in memory; None for ./Dataset, else the sample."""


def find_source(data: DataLike = None, test: "BattlesLike | None" = None) -> Source:
    """Return the data that an argument describes; a message says so if that is the sample.

    `test` are the battles to predict beside `data` in memory. Raises UserError for data that cannot be found or
    read.
    """
    is_place = data is None or isinstance(data, str | Path | DataFolder | BattlesInMemory)
    if is_place and test is not None:
        raise UserError("test: expected only with battles in memory. Other data have test battles of their own.")
    if isinstance(data, DataFolder | BattlesInMemory):
        return data
    if data is None or isinstance(data, str | Path):
        return _find_folder(data)
    return BattlesInMemory(as_battles(data), None if test is None else as_battles(test, "repair"))


def _find_folder(data: str | Path | None) -> DataFolder:
    source = find_data(None if data is None else Path(data))
    if source.is_sample:
        logger.info(
            "No Dataset/train.csv: using the simulated sample. "
            "Put Kaggle's files there, or name a folder with --data."
        )
    return source


def files_of(source: Source) -> list[Path]:
    """Return the files that the battles are read from; none for battles in memory."""
    if isinstance(source, BattlesInMemory):
        return []
    return [file for file in map(source.file_of, ("train", "test")) if file is not None]


def as_battles(battles: BattlesLike, damage: Damage = "raise") -> Battles:
    """Return the battles of a DataFrame, read with `damage` as a file is, or the given ones."""
    return battles if isinstance(battles, Battles) else from_dataframe(battles, damage=damage)


def home_of(runs: str | Path | None, source: Source) -> Path:
    """Return the given folder of runs, or runs/NAME-OF-THE-DATA-FOLDER.

    Runs on battles in memory are kept in a temporary folder, which is removed when Python ends.
    """
    if runs is not None:
        return Path(runs)
    if isinstance(source, DataFolder):
        return Path("runs") / source.name
    hashes = [battles.content_hash() for battles in (source.train, source.test) if battles is not None]
    return _temporary_folder() / "-".join(hashes)


@cache
def _temporary_folder() -> Path:
    folder = Path(mkdtemp(prefix="pairrank-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
