"""Extra battles are learned from and never scored: other files, less what scored or test prompts forbid."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles, concatenate, object_array
from pairrank.data.folder import table_in
from pairrank.data.folds import prompt_keys
from pairrank.data.reading import SUFFIXES, read_battles
from pairrank.errors import UserError


@dataclass(frozen=True)
class Extra:
    """Battles of another source that training may use."""

    path: str
    """A battle file with winners, or a folder with a train file."""
    weight: float = 1.0
    """How much one of them counts beside a battle of the data itself; at 1 it also tells when to stop."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise UserError(f"extra {self.path!r}: weight = {self.weight}: expected a share above 0, at most 1.")

    @property
    def name(self) -> str:
        """What the log and the run's name call it: the file's name, or its folder's where it is called train."""
        file = Path(self.path)
        stem = next((file.name.removesuffix(end) for end in SUFFIXES if file.name.endswith(end)), file.name)
        return file.resolve().parent.name if stem == "train" else stem

    @cached_property
    def battles(self) -> Battles:
        """The battles of this source, their ids told from all others; raises UserError if it has none."""
        path = Path(self.path)
        file = table_in(path, "train") if path.is_dir() else path
        if file is None or not file.is_file():
            raise UserError(
                f"extra {self.path!r}: no battles there. Expected a battle file (.csv, .csv.gz, .parquet), or a "
                "folder with train.csv; paths are those of the folder you are in. Dataset/README.md tells more."
            )
        battles = read_battles(file)
        if battles.winner is None:
            raise UserError(f"{file}: no winners in it, so nothing can be learned from it.")
        ids = object_array([f"{self.name}/{name}" for name in battles.id])
        return replace(battles, id=ids, weight=np.full(len(battles), self.weight))


@dataclass(frozen=True)
class ExtraUsage:
    """What became of one source in one fold."""

    name: str
    weight: float
    read: int
    in_test: int
    """Dropped: their prompt is in the test file."""
    in_fold: int
    """Left out: their prompt is in the scored fold."""

    @property
    def used(self) -> int:
        """How many are learned from."""
        return self.read - self.in_test - self.in_fold

    def __str__(self) -> str:
        return (
            f"{self.used:,} of {self.read:,} extra battles from {self.name} at weight {self.weight:g}; dropped "
            f"for a prompt of the test file {self.in_test:,}, of the scored fold {self.in_fold:,}"
        )


def add_extra(
    train: Battles, extra: Sequence[Extra], test_keys: AbstractSet[str], scored_keys: AbstractSet[str]
) -> tuple[Battles, list[ExtraUsage]]:
    """The training battles and what each source may add to them, with weights; and what became of each source.

    A row whose prompt (`prompt_keys`) is in the test file or the scored fold is never learned from. Raises
    UserError where two sources have one name, by which their ids and their log lines are told apart.
    """
    names = [source.name for source in extra]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"extra: more than one source is called {', '.join(twice)}. Rename, or name it once.")
    parts, drawn = [replace(train, weight=train.weights)], []
    for source in extra:
        keys = prompt_keys(source.battles)
        in_test = np.array([key in test_keys for key in keys])
        in_fold = ~in_test & np.array([key in scored_keys for key in keys])
        parts.append(_like(source.battles.take(~(in_test | in_fold)), train))
        drawn.append(ExtraUsage(source.name, source.weight, len(keys), int(in_test.sum()), int(in_fold.sum())))
    return concatenate(parts) if extra else train, drawn


def _like(rows: Battles, train: Battles) -> Battles:
    """The rows with the columns of the training battles: unknown names are empty, soft targets the winners."""
    unnamed = object_array([""] * len(rows))
    return replace(
        rows,
        model_a=None if train.model_a is None else unnamed if rows.model_a is None else rows.model_a,
        model_b=None if train.model_b is None else unnamed if rows.model_b is None else rows.model_b,
        soft=None if train.soft is None else np.eye(3)[rows.labels],
    )
