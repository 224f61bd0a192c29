"""An experiment runs on the battles of a folder: the given one, ./Dataset, or the sample shipped with pairrank."""

import json
import logging
import os
import tomllib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pairrank.data.battles import Battles
from pairrank.data.hub import fetch_battles, is_hub_name, label_of
from pairrank.data.predictions import Predictions, read_predictions
from pairrank.data.reading import fits, read_battles, read_training_battles
from pairrank.data.shards import first_shard
from pairrank.data.tables import SUFFIXES, without_suffix
from pairrank.data.turns import repair_text
from pairrank.data.votes import Aggregation, VoteSettings, apply_votes
from pairrank.errors import UserError
from pairrank.files import reading
from pairrank.nested import from_mapping

logger = logging.getLogger(__name__)

SETTINGS = "data.toml"
"""File with the `DataSettings` of a folder."""

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
    def unlabelled(self) -> Battles | None:
        """The battles of the test file whose texts may be learned from; None without a test file."""
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
    unlabelled: Battles | None = None
    """The battles of the test file without those whose prompts are in the scored fold."""
    test: None = None


@dataclass(frozen=True)
class DataSettings:
    """How the files of a folder are read; the file data.toml next to them may set it."""

    schema: str = ""
    """Name of the schema; "" if the columns tell it."""
    votes: Aggregation = "each"
    """`VoteSettings.votes`."""
    both_bad: float = 1.0
    """`VoteSettings.both_bad`."""
    graded: bool = False
    """`VoteSettings.graded`."""

    def __post_init__(self) -> None:
        _ = self.votes_used

    def __str__(self) -> str:
        """Return the settings that differ from the default ones, as in data.toml."""
        given = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return ", ".join(f"{name} = {json.dumps(value)}" for name, value in given.items())

    @property
    def votes_used(self) -> VoteSettings:
        """The settings of the votes."""
        return VoteSettings(self.votes, self.both_bad, self.graded)


def read_settings(path: Path) -> DataSettings:
    """Return the settings in data.toml, in a folder or beside a file of battles, or the default ones.

    Raises UserError for a wrong data.toml.
    """
    file = (path.parent if path.is_file() else path) / SETTINGS
    if not file.is_file():
        return DataSettings()
    with reading(file, "Correct it, or remove it."):
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    settings: DataSettings = from_mapping(DataSettings, values, str(file))
    return settings


def read_voted_battles(file: Path, settings: DataSettings) -> Battles:
    """Read a file of battles with winners, and apply the settings of the votes.

    Raises UserError with every complaint about the file, or if it has no winners.
    """
    found = read_training_battles(file, settings.schema)
    battles = apply_votes(found, settings.votes_used)
    if effects := _effects(found, battles, settings):
        logger.info("%s: %s: %s", file, SETTINGS, "; ".join(effects))
    return battles


def _effects(found: Battles, battles: Battles, settings: DataSettings) -> list[str]:
    """Return what the settings of the votes have made of the battles that were found."""
    effects = []
    if settings.votes != "each":
        effects.append(f'votes = "{settings.votes}" ({len(found):,} votes, {len(battles):,} battles)')
    if settings.both_bad < 1:
        count = 0 if found.both_bad is None else int(found.both_bad.sum())
        what = "left out" if settings.both_bad == 0 else "weighted"
        effects.append(f"both_bad = {settings.both_bad:g} ({count:,} votes {what})")
    if settings.graded:
        count = 0 if found.strength is None else int((found.strength != 0).sum())
        effects.append(
            f"graded = true ({count:,} winners of known strength)" + (", NO EFFECT" if not count else "")
        )
    return effects


@dataclass(frozen=True)
class DataFolder:
    """A folder with train.csv and possibly test.csv (or files of another kind), or a single file of battles."""

    path: Path
    is_sample: bool = False
    """Whether this is the sample that is shipped with pairrank."""
    label: str = ""
    """A name in place of that of the folder or file."""
    excluded_prompts: frozenset[str] = frozenset()
    """Empty, because only the test battles exclude prompts from the data of a folder."""

    @property
    def name(self) -> str:
        """Name of the folder, or of the file without its ending; bytes that are not UTF-8 are replaced.

        A file that is called train has the name of its folder.
        """
        if self.path.is_file() and (stem := without_suffix(self.path.name)) not in ("train", "", ".", ".."):
            name = stem
        else:
            name = (self.path.parent if self.path.is_file() else self.path).resolve().name
        return self.label or repair_text(name)

    @cached_property
    def settings(self) -> DataSettings:
        """How the files are read."""
        return read_settings(self.path)

    def file_of(self, part: str) -> Path | None:
        """Return the file of "train" or "test"; None if there is none. A single file has battles to train on."""
        if self.path.is_file():
            return self.path if part == "train" else None
        return table_in(self.path, part)

    @cached_property
    def train(self) -> Battles:
        """The training battles. Raises UserError with every complaint about the file, or if it has no winners."""
        file = self.file_of("train")
        if file is None:
            raise UserError(
                f"{self.path}: no train.csv, train.jsonl or train.parquet found. Expected battles to train on. "
                "See Dataset/README.md, name a file with --data, or omit --data to use the sample."
            )
        return read_voted_battles(file, self.settings)

    @cached_property
    def test(self) -> Battles | None:
        """The battles to predict, with damaged rows repaired; None if there is no test file.

        The schema in data.toml is that of the training file; it holds for a test file that has its columns.
        """
        file = self.file_of("test")
        if file is None:
            return None
        named = self.settings.schema
        return read_battles(file, damage="repair", schema=named if named and fits(file, named) else "")

    @property
    def unlabelled(self) -> Battles | None:
        """The test battles."""
        return self.test

    @cached_property
    def truth(self) -> Predictions | None:
        """The true probabilities of simulated training battles; None for real battles.

        A file of other battles is left out with a warning.
        """
        if self.path.is_file():
            return None
        file = self.path / "train-truth.csv"
        truth = read_predictions(file) if file.is_file() else None
        if truth is not None and not set(self.train.id) <= set(truth.id):
            logger.warning("%s: of other battles than the training battles next to it, so it is not used", file)
            return None
        return truth


def find_data(folder: Path | None = None) -> DataFolder:
    """Return the data in a folder or file, or else in ./Dataset if it contains a train file, or else the sample.

    Raises UserError if `folder` is neither.
    """
    if folder is not None and is_hub_name(folder):
        return DataFolder(fetch_battles(str(folder)), label=label_of(str(folder)))
    if folder is not None:
        if not folder.is_file() and not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder or file. --data expects a folder with train.csv and test.csv, or a file "
                "of battles."
            )
        return DataFolder(folder)
    if table_in(Path("Dataset"), "train"):
        return DataFolder(Path("Dataset"))
    return sample_data()


def sample_data() -> DataFolder:
    """Return the simulated battles that are shipped with pairrank."""
    return DataFolder(shipped("sample", "Dataset/sample"), is_sample=True)


def table_in(folder: Path, name: str) -> Path | None:
    """Return the battle file called `name` in a folder, in any format; None if there is none.

    Of a Parquet table in shards (train-00000-of-00003.parquet), it is the first shard. Raises UserError for a
    folder, pipe or broken link of that name, and for a set of shards that is incomplete.
    """
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    found = next((file for file in files if os.path.lexists(file)), None)
    if found is None:
        return first_shard(folder, name)
    if not found.is_file():
        raise UserError(f"{found}: a folder, a pipe or a broken link. Expected a battle file.")
    return found
