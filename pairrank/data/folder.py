"""Which battles an experiment runs on: the user's, those of any folder, or the sample that comes with pairrank."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pairrank.data.battles import Battles
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import SUFFIXES, read_battles
from pairrank.errors import UserError

SOURCE = Path(__file__).parents[1]
SHIPPED = SOURCE / "shipped"


def shipped(part: str, beside_source: str) -> Path:
    """A folder that comes with pairrank: inside an installed wheel, or beside the source of an editable install."""
    inside = SHIPPED / part
    return inside if inside.is_dir() else SOURCE.parent / beside_source


class Data(Protocol):
    """Battles that an experiment runs on."""

    @property
    def path(self) -> Path:
        """Where they come from, for messages."""
        ...

    @property
    def name(self) -> str:
        """What tables and folders call them."""
        ...

    @property
    def train(self) -> Battles:
        """The battles with winners."""
        ...

    @property
    def test(self) -> Battles | None:
        """The battles to predict, where there are any."""
        ...

    @property
    def excluded_prompts(self) -> frozenset[str]:
        """Prompt keys, besides those of the test battles, that nothing may be learned from."""
        ...


@dataclass(frozen=True)
class TrainingSubset:
    """The training battles of one fold of some data, as data of their own: for what is remade inside a fold."""

    path: Path
    name: str
    train: Battles
    excluded_prompts: frozenset[str]
    """Prompt keys of the scored fold and of the test battles: no extra battle may bring them back."""
    test: None = None


@dataclass(frozen=True)
class DataFolder:
    """A folder with train.csv and, perhaps, test.csv (or .csv.gz, .parquet)."""

    path: Path
    is_sample: bool = False
    excluded_prompts: frozenset[str] = frozenset()
    """Nothing is hidden of whole data."""

    @property
    def name(self) -> str:
        """What tables and folders call this data."""
        return self.path.resolve().name

    @cached_property
    def train(self) -> Battles:
        """The battles with winners; raises UserError with every complaint about the file."""
        file = table_in(self.path, "train")
        if file is None:
            raise UserError(
                f"{self.path}: no train.csv in it (nor .csv.gz, .parquet). Expected Kaggle's files; "
                "see Dataset/README.md, or leave --data away to use the sample."
            )
        battles = read_battles(file)
        if battles.winner is None:
            raise UserError(f"{file}: no winners in it, so nothing can be learned. Is this a test file?")
        return battles

    @cached_property
    def test(self) -> Battles | None:
        """The battles to predict, repaired where damaged; None where there is no test file."""
        file = table_in(self.path, "test")
        return read_battles(file, damage="repair") if file else None

    @cached_property
    def truth(self) -> Predictions | None:
        """The true probabilities of simulated training battles; None for real ones."""
        file = self.path / "train-truth.csv"
        return read_predictions(file) if file.is_file() else None


def find_data(folder: Path | None = None) -> DataFolder:
    """`folder`, or else ./Dataset if the user put train.csv there, or else the sample."""
    if folder is not None:
        if folder.is_file():
            raise UserError(f"{folder}: is a file. --data expects its folder, {folder.parent}.")
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder. --data expects a folder with train.csv and test.csv.")
        return DataFolder(folder)
    if table_in(Path("Dataset"), "train"):
        return DataFolder(Path("Dataset"))
    return DataFolder(shipped("sample", "Dataset/sample"), is_sample=True)


def table_in(folder: Path, name: str) -> Path | None:
    """The battle file called `name` in a folder, whatever its format."""
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), None)
