"""An experiment runs on the battles of a folder: the given one, ./Dataset, or the sample shipped with pairrank."""

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import read_battles, read_training_battles
from pairrank.data.tables import SUFFIXES
from pairrank.data.turns import repair_text
from pairrank.errors import UserError

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).parents[1]
SHIPPED = SOURCE / "shipped"
"""The folder in which an installed wheel has the sample and the shipped experiments."""


def shipped(part: str, in_repository: str) -> Path:
    """Return a folder that is shipped with pairrank, from the installed wheel or else from the repository.

    `part` is its name in the wheel, `in_repository` its path in a checkout, which an editable install uses.
    """
    installed = SHIPPED / part
    return installed if installed.is_dir() else SOURCE.parent / in_repository


class Data(Protocol):
    """The battles that an experiment runs on."""

    @property
    def path(self) -> Path:
        """Where the battles come from, for messages."""
        ...

    @property
    def name(self) -> str:
        """Name of the data in tables and in the paths of runs."""
        ...

    @property
    def train(self) -> Battles:
        """The training battles, which have winners."""
        ...

    @property
    def test(self) -> Battles | None:
        """The battles to predict; None if there are none."""
        ...

    @property
    def excluded_prompts(self) -> frozenset[str]:
        """Prompt keys, in addition to those of the test battles, that no training battle may have."""
        ...


@dataclass(frozen=True)
class TrainingSubset:
    """The training battles of one fold, as data for the experiments that are repeated inside the fold."""

    path: Path
    name: str
    train: Battles
    excluded_prompts: frozenset[str]
    """Prompt keys of the scored fold and of the test battles, which no extra battle may have."""
    test: None = None


@dataclass(frozen=True)
class DataFolder:
    """A folder with train.csv and possibly test.csv (or .csv.gz, .parquet)."""

    path: Path
    is_sample: bool = False
    """Whether this is the sample that is shipped with pairrank."""
    excluded_prompts: frozenset[str] = frozenset()
    """Empty, because only the test battles exclude prompts from the data of a folder."""

    @property
    def name(self) -> str:
        """Name of the folder; bytes that are not UTF-8 are replaced."""
        return repair_text(self.path.resolve().name)

    @cached_property
    def train(self) -> Battles:
        """The training battles. Raises UserError with every complaint about the file, or if it has no winners."""
        file = table_in(self.path, "train")
        if file is None:
            raise UserError(
                f"{self.path}: no train.csv, train.csv.gz or train.parquet found. Expected the competition's "
                "files. See Dataset/README.md, or omit --data to use the sample."
            )
        return read_training_battles(file)

    @cached_property
    def test(self) -> Battles | None:
        """The battles to predict, with damaged rows repaired; None if there is no test file."""
        file = table_in(self.path, "test")
        return read_battles(file, damage="repair") if file else None

    @cached_property
    def truth(self) -> Predictions | None:
        """The true probabilities of simulated training battles; None for real battles.

        A file of other battles is left out with a warning.
        """
        file = self.path / "train-truth.csv"
        truth = read_predictions(file) if file.is_file() else None
        if truth is not None and not set(self.train.id) <= set(truth.id):
            logger.warning("%s: of other battles than the training battles next to it, so it is not used", file)
            return None
        return truth


def find_data(folder: Path | None = None) -> DataFolder:
    """Return the data in `folder`, or else in ./Dataset if it contains a train file, or else the sample.

    Raises UserError if `folder` is not a folder.
    """
    if folder is not None:
        if folder.is_file():
            raise UserError(f"{folder}: this is a file. --data expects its folder: {folder.parent}")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder. --data expects a folder with train.csv and test.csv.")
        return DataFolder(folder)
    if table_in(Path("Dataset"), "train"):
        return DataFolder(Path("Dataset"))
    return sample_data()


def sample_data() -> DataFolder:
    """Return the simulated battles that are shipped with pairrank."""
    return DataFolder(shipped("sample", "Dataset/sample"), is_sample=True)


def table_in(folder: Path, name: str) -> Path | None:
    """Return the battle file called `name` in a folder, in any format; None if there is none.

    Raises UserError for a folder, pipe or broken link of that name.
    """
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    found = next((file for file in files if os.path.lexists(file)), None)
    if found and not found.is_file():
        raise UserError(f"{found}: a folder, a pipe or a broken link. Expected a battle file.")
    return found
