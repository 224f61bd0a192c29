"""Extra battles are used in training only; those with a prompt that is scored, or to be predicted, are left out."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pairrank.data.battles import DETAILS, MODELS, TEACHES, Battles, concatenate, object_array
from pairrank.data.folder import read_settings, read_voted_battles, table_in
from pairrank.data.folds import is_excluded
from pairrank.data.probabilities import Proba
from pairrank.data.reading import fits, read_battles
from pairrank.data.tables import SUFFIXES, without_suffix
from pairrank.errors import UserError

Teaches = Literal["both", "margin", "tie"]
"""The heads of a model that battles train."""

Labels = Literal["votes", "teacher"]
"""Who decides the battles of a source: its voters, or the teachers of the experiment."""

TEST = "test"
"""The path that names the test file of the data, in a source with `labels = "teacher"`."""


VOTES = ("winner", "soft", "weight", "both_bad", "strength", "judge")
"""Columns of battles that come from their voters."""


@dataclass(frozen=True)
class Extra:
    """A source of battles that training may use in addition to the data."""

    path: str
    """A battle file with winners, of any schema, or a folder that contains one called train.

    With `labels = "teacher"`, the file needs no winners, and "test" is the test file of the data itself. A folder
    of that name is then "./test".
    """
    weight: float = 1.0
    """Weight of each battle of this source in training; battles of the data itself have weight 1.

    Early stopping does not monitor extra battles, whatever their weight.
    """

    teaches: Teaches = "both"
    """What the battles train: both heads, or only the one that predicts who has won ("margin"), or a tie ("tie").

    Voters of another source may agree on who is better and differ in how often they call it a tie.
    """
    labels: Labels = "votes"
    """"teacher": ignore the winners of the source; the teachers of the experiment predict soft targets instead."""

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise UserError(
                f"extra {self.path!r}: labels = {self.labels!r}: expected one of {', '.join(get_args(Labels))}."
            )
        if self.teaches not in TEACHES:
            raise UserError(
                f"extra {self.path!r}: teaches = {self.teaches!r}: expected one of {', '.join(TEACHES)}."
            )
        if not 0 < self.weight <= 1:
            raise UserError(
                f"extra {self.path!r}: weight = {self.weight}: expected a number above 0 and at most 1."
            )

    def settings(self) -> dict[str, Any]:
        """Return the fields as plain values, without those that older records lack where they have no effect."""
        given: dict[str, Any] = {"teaches": self.teaches} if self.teaches != "both" else {}
        given |= {"labels": self.labels} if self.labels != "votes" else {}
        return {"path": self.path, "weight": self.weight} | given

    @property
    def is_test_file(self) -> bool:
        """Whether the battles are those of the test file of the data."""
        return self.labels == "teacher" and self.path == TEST

    @property
    def name(self) -> str:
        """The name in logs and labels: the name of the file, or of its folder if the file is called train."""
        file = Path(self.path)
        stem = without_suffix(file.name)
        return file.resolve().parent.name if stem == "train" else stem

    @cached_property
    def battles(self) -> Battles:
        """The battles of the file, with the source's name before their ids.

        Raises UserError if there are none, or if they have no winners and voters decide them.
        """
        path = Path(self.path)
        file = table_in(path, "train") if path.is_dir() else path
        if file is None or not file.is_file():
            raise UserError(
                f"extra {self.path!r}: no battle file found. Expected a file ({', '.join(SUFFIXES)}) or a folder "
                "with train.csv. Check the path, relative to the current folder; Dataset/README.md lists sources."
            )
        settings = read_settings(file)
        if settings.schema and not fits(file, settings.schema):  # it is that of another file in the folder
            settings = replace(settings, schema="")
        if self.labels == "teacher":
            return self.marked(read_battles(file, damage="repair", schema=settings.schema))
        return self.marked(read_voted_battles(file, settings))

    def battles_of(self, test: Battles | None) -> Battles:
        """Return the battles of the source; `test` are those of the test file that may be learned from.

        Raises UserError as `battles` does, and if the source is a test file that does not exist.
        """
        if not self.is_test_file:
            return self.battles
        if test is None:
            raise UserError(
                f"extra {self.path!r}: the data have no test file. Add one, or remove this source. A folder called "
                f'{TEST} is given as "./{TEST}".'
            )
        return self.marked(test)

    def marked(self, battles: Battles) -> Battles:
        """Return battles as those of this source; what voters have said is removed if teachers decide them."""
        ids = object_array([f"{self.name}/{name}" for name in battles.id])
        if self.labels == "teacher":
            removed: dict[str, Any] = dict.fromkeys(VOTES)
            battles = replace(battles, **removed)
        teaches = None if self.teaches == "both" else object_array([self.teaches] * len(battles))
        return replace(
            battles,
            id=ids,
            weight=self.weight * battles.weights,
            teaches=teaches,
            is_extra=np.ones(len(battles), dtype=bool),
            is_voted=np.zeros(len(battles), dtype=bool) if self.labels == "teacher" else None,
        )


@dataclass(frozen=True)
class PseudoLabels:
    """What decides battles without winners, and the battles of the test file, which may be among them."""

    predict: Callable[[Battles], Proba]
    """Returns (n, 3) probabilities of n battles, by models that were trained on no scored battle."""
    test: Battles | None
    """The battles of the test file; None without one."""

    def decide(self, battles: Battles) -> Battles:
        """Return battles with the probabilities as soft targets, and the most probable outcomes as winners."""
        soft = self.predict(battles) if len(battles) else np.empty((0, 3))
        return replace(battles, soft=soft, winner=soft.argmax(axis=1))


@dataclass(frozen=True)
class ExtraUsage:
    """How many battles of one source were used in one fold. The field names are keys of fold.json."""

    name: str
    """`Extra.name`."""
    weight: float
    """`Extra.weight`."""
    read: int
    """Number of battles of the source."""
    in_test: int
    """Number of battles left out because their prompt is in the test file."""
    in_fold: int
    """Number of other battles left out because their prompt is in the scored fold."""

    @property
    def used(self) -> int:
        """Number of battles that are trained on."""
        return self.read - self.in_test - self.in_fold

    def __str__(self) -> str:
        return (
            f"{self.used:,} of {self.read:,} extra battles from {self.name} at weight {self.weight:g}; left out: "
            f"{self.in_test:,} with a prompt of the test file, {self.in_fold:,} with a prompt of the scored fold"
        )


def add_extra(
    train: Battles,
    extra: Sequence[Extra],
    test_keys: AbstractSet[str],
    scored_keys: AbstractSet[str],
    pseudo: PseudoLabels | None = None,
) -> tuple[Battles, list[ExtraUsage]]:
    """Return the training battles followed by the allowed ones of each source, and the usage of each source.

    Battles with a prompt or group in `test_keys` or `scored_keys` (`exclusion_keys`) are left out; only the source
    that is the test file itself may have those in `test_keys`. `pseudo` decides battles without votes. Columns that
    `train` lacks are dropped, except soft winners and groups. Columns that a source lacks are filled: texts with
    "", soft winners with the winners. Raises UserError if two sources have the same name, because their ids and
    log lines could not be distinguished.
    """
    names = [source.name for source in extra]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"extra: more than one source is called {', '.join(twice)}. Rename one of them.")
    test = pseudo.test if pseudo else None
    found = [source.battles_of(test) for source in extra]
    if train.soft is None and any(battles.soft is not None for battles in found):
        train = replace(train, soft=np.eye(3)[train.labels])
    if train.group is None and any(battles.group is not None for battles in found):
        train = replace(train, group=object_array([""] * len(train)))
    if any(source.teaches != "both" for source in extra):
        train = replace(train, teaches=object_array(["both"] * len(train)))
    if any(source.labels == "teacher" for source in extra):
        train = replace(train, is_voted=np.ones(len(train), dtype=bool))
    without_extra = train
    train = replace(train, weight=train.weights, is_extra=np.zeros(len(train), dtype=bool))
    parts, usage = [train], []
    for source, battles in zip(extra, found, strict=True):
        in_test = is_excluded(battles, frozenset() if source.is_test_file else test_keys)
        in_fold = ~in_test & is_excluded(battles, scored_keys)
        kept = battles.take(~(in_test | in_fold))
        if source.labels == "teacher" and pseudo:
            kept = pseudo.decide(kept)
        parts.append(_like(kept, train))
        usage.append(ExtraUsage(source.name, source.weight, len(in_test), int(in_test.sum()), int(in_fold.sum())))
    return concatenate(parts) if extra else without_extra, usage


def _like(rows: Battles, train: Battles) -> Battles:
    """Return rows with the columns of the training battles, filled as `add_extra` describes."""
    unknown: dict[str, Any] = dict.fromkeys((*MODELS, *DETAILS), object_array([""] * len(rows)))
    unknown |= {"both_bad": np.zeros(len(rows), dtype=bool), "strength": np.zeros(len(rows))}
    unknown |= {"is_extra": np.ones(len(rows), dtype=bool)}
    unknown |= {"soft": np.eye(3)[rows.labels], "teaches": object_array(["both"] * len(rows))}
    unknown |= {"is_voted": np.ones(len(rows), dtype=bool)}
    columns = rows.columns()
    filled: dict[str, Any] = {
        name: None if getattr(train, name) is None else default if columns[name] is None else columns[name]
        for name, default in unknown.items()
    }
    return replace(rows, **filled)
