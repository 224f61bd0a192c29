"""Which battles an experiment runs on: the user's, those of any folder, or the sample that comes with pairrank."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pairrank.battle_files import SUFFIXES, read_battles
from pairrank.battles import Battles
from pairrank.errors import UserError
from pairrank.predictions import Predictions, read_predictions

SOURCE = Path(__file__).parent
SHIPPED = SOURCE / "shipped"


def shipped(part: str, beside_source: str) -> Path:
    """A folder that comes with pairrank: inside an installed wheel, or beside the source of an editable install."""
    inside = SHIPPED / part
    return inside if inside.is_dir() else SOURCE.parent / beside_source


@dataclass(frozen=True)
class DataFolder:
    """A folder with train.csv and, perhaps, test.csv (or .csv.gz, .parquet)."""

    path: Path
    is_sample: bool = False

    @property
    def name(self) -> str:
        """What tables and folders call this data."""
        return self.path.resolve().name

    @cached_property
    def train(self) -> Battles:
        """The battles with winners; raises UserError with every complaint about the file."""
        file = _table(self.path, "train")
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
        file = _table(self.path, "test")
        return read_battles(file, damage="repair") if file else None

    @cached_property
    def truth(self) -> Predictions | None:
        """The true probabilities of simulated training battles; None for real ones."""
        file = self.path / "train-truth.csv"
        return read_predictions(file) if file.is_file() else None


def find_data(folder: Path | None = None) -> DataFolder:
    """`folder`, or else ./Dataset if the user put train.csv there, or else the sample."""
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder. --data expects a folder with train.csv and test.csv.")
        return DataFolder(folder)
    if _table(Path("Dataset"), "train"):
        return DataFolder(Path("Dataset"))
    return DataFolder(shipped("sample", "Dataset/sample"), is_sample=True)


def _table(folder: Path, name: str) -> Path | None:
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), None)
