"""A battle is a prompt, two answers and, perhaps, whom people preferred."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pairrank.data.probabilities import SWAP
from pairrank.errors import UserError

TEXTS = ("prompt", "response_a", "response_b")
MODELS = ("model_a", "model_b")
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
"""Kaggle's label columns, in the order of every probability array."""

NO_COLUMNS = ("input_names", "repairs")
"""Fields of `Battles` that say something of the whole table."""

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
    weight: npt.NDArray[np.float64] | None = None
    """(n,) how much each battle counts in training, above 0; None counts all alike."""
    inputs: npt.NDArray[np.float64] | None = None
    """(n, k, 3) what k other experiments say of these battles, in models that never saw their prompts."""
    input_names: tuple[str, ...] = ()
    """k names of those experiments."""
    repairs: tuple[str, ...] = field(default=(), compare=False)
    """What had to be mended to read these battles, one line each."""

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        columns = [name for name, value in self._columns().items() if value is not None]
        return f"Battles({len(self):,} of them: {', '.join(columns)})"

    def take(self, rows: npt.NDArray[Any] | slice) -> Self:
        """The battles at `rows`: indices, a mask or a slice."""
        taken: dict[str, Any] = {name: None if v is None else v[rows] for name, v in self._columns().items()}
        return replace(self, repairs=(), **taken)

    def swap(self) -> Self:
        """The same battles with A and B in each other's place: a rename, so winners A and B change too."""
        return replace(
            self,
            response_a=self.response_b,
            response_b=self.response_a,
            model_a=self.model_b,
            model_b=self.model_a,
            winner=None if self.winner is None else np.array(SWAP)[self.winner],
            soft=None if self.soft is None else self.soft[:, SWAP],
            inputs=None if self.inputs is None else self.inputs[:, :, SWAP],
        )

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,) winners; raises UserError where the battles carry none."""
        if self.winner is None:
            raise UserError("these battles carry no winners: nothing can be learned from or scored on them.")
        return self.winner

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """(n,) how much each battle counts in training: 1 where nothing else was said."""
        return np.ones(len(self)) if self.weight is None else self.weight

    def content_hash(self) -> str:
        """16 hexadecimal digits that change with any id, text, model name or label, and with their order."""
        digest = hashlib.sha256()
        for name, column in self._columns().items():
            if column is not None:
                digest.update(json.dumps([name, column.tolist()]).encode())
        if self.input_names:
            digest.update(json.dumps(self.input_names).encode())
        return digest.hexdigest()[:16]

    def _columns(self) -> dict[str, npt.NDArray[Any] | None]:
        """What has a row for each battle."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NO_COLUMNS}


def concatenate(parts: list[Battles]) -> Battles:
    """One table of all parts; a column that any part lacks is dropped."""
    tables = [part._columns() for part in parts]
    columns: dict[str, Any] = {}
    for name in tables[0]:
        values = [table[name] for table in tables]
        columns[name] = None if any(v is None for v in values) else np.concatenate(values)  # type: ignore[arg-type]
    names = parts[0].input_names if columns["inputs"] is not None else ()
    repairs = tuple(line for part in parts for line in part.repairs)
    return Battles(**columns, input_names=names, repairs=repairs)


def object_array(values: Sequence[Any]) -> Objects:
    """A one-dimensional object array, also of tuples (which numpy would stack)."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
