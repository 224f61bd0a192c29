"""A battle is a prompt, two answers and, perhaps, whom people preferred."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pairrank.errors import UserError

TEXTS = ("prompt", "response_a", "response_b")
MODELS = ("model_a", "model_b")
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
"""Kaggle's label columns, in the order of every probability array."""

Objects = npt.NDArray[np.object_]


class Winner(IntEnum):
    """Whom the voter preferred: the class index of every label and the column of every probability array."""

    A = 0
    """The first answer."""
    B = 1
    """The second answer."""
    TIE = 2
    """Neither: votes for "tie" and for "both bad" alike."""


@dataclass(frozen=True, eq=False)
class Battles:
    """A table of n battles. Every field that ends in `_a` has a twin that ends in `_b`."""

    id: Objects
    """(n,) battle ids as text, without white space around them, each once."""
    prompt: Objects
    """(n,) tuples of turns, oldest first."""
    response_a: Objects
    """(n,) tuples of turns; turn i answers turn i of the prompt."""
    response_b: Objects
    """(n,) tuples of turns; turn i answers turn i of the prompt."""
    model_a: Objects | None = None
    """(n,) names, "" where unknown. Present in training data only: no input of a submittable model."""
    model_b: Objects | None = None
    """(n,) names, "" where unknown. Present in training data only: no input of a submittable model."""
    winner: npt.NDArray[np.int64] | None = None
    """(n,) `Winner` values; None for battles to predict."""
    soft: npt.NDArray[np.float64] | None = None
    """(n, 3) probabilities to learn from instead of the winner (a teacher's, or shares of several votes)."""
    repairs: tuple[str, ...] = field(default=(), compare=False)
    """What had to be mended to read these battles, one line each."""

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        columns = [f.name for f in fields(self) if f.name != "repairs" and getattr(self, f.name) is not None]
        return f"Battles({len(self):,} of them: {', '.join(columns)})"

    def take(self, rows: npt.NDArray[Any] | slice) -> Self:
        """The battles at `rows`: indices, a mask or a slice."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "repairs"}
        taken: dict[str, Any] = {name: None if v is None else v[rows] for name, v in columns.items()}
        return replace(self, repairs=(), **taken)

    def swap(self) -> Self:
        """The same battles with A and B in each other's place: a rename, so winners A and B change too."""
        return replace(
            self,
            response_a=self.response_b,
            response_b=self.response_a,
            model_a=self.model_b,
            model_b=self.model_a,
            winner=None if self.winner is None else np.array([1, 0, 2])[self.winner],
            soft=None if self.soft is None else self.soft[:, [1, 0, 2]],
        )

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) winners; raises UserError where the battles carry none."""
        if self.winner is None:
            raise UserError("these battles carry no winners: nothing can be learned from or scored on them.")
        return self.winner

    def content_hash(self) -> str:
        """16 hexadecimal digits that change with any id, text, model name or label, and with their order."""
        digest = hashlib.sha256()
        for f in fields(self):
            column = getattr(self, f.name)
            if f.name == "repairs" or column is None:
                continue
            digest.update(json.dumps([f.name, column.tolist()]).encode())
        return digest.hexdigest()[:16]


def concatenate(parts: list[Battles]) -> Battles:
    """One table of all parts; a column that any part lacks is dropped."""
    columns: dict[str, Any] = {}
    for f in fields(Battles):
        values = [getattr(part, f.name) for part in parts]
        if f.name == "repairs":
            columns["repairs"] = tuple(line for lines in values for line in lines)
        else:
            columns[f.name] = None if any(v is None for v in values) else np.concatenate(values)
    return Battles(**columns)


def object_array(values: Sequence[Any]) -> Objects:
    """A one-dimensional object array, also of tuples (which numpy would stack)."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
