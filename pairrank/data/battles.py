"""A battle is a prompt, two answers to it and, in training data, the preference of a voter."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pairrank.data.probabilities import SWAP, FloatArray, Labels, Proba
from pairrank.errors import UserError

TEXTS = ("prompt", "response_a", "response_b")
MODELS = ("model_a", "model_b")
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
"""The competition's label columns, in the order of the columns of every probability array."""

TABLE_FIELDS = ("input_names", "repairs")
"""Fields of `Battles` that describe the whole table and have no row per battle."""

Objects = npt.NDArray[np.object_]
"""A one-dimensional array of Python objects."""


class Winner(IntEnum):
    """The answer the voter preferred: the value of every label and the index of a probability array's column."""

    A = 0
    """The first answer."""
    B = 1
    """The second answer."""
    TIE = 2
    """Neither answer. The voter chose "tie" or "both bad"."""


@dataclass(frozen=True, eq=False)
class Battles:
    """A table of n battles. Every field whose name ends in `_a` has a counterpart whose name ends in `_b`."""

    id: Objects
    """(n,) battle ids as text, stripped of white space. Each id occurs once."""
    prompt: Objects
    """(n,) tuples of turns, oldest first."""
    response_a: Objects
    """(n,) tuples of turns; turn i answers turn i of the prompt."""
    response_b: Objects
    """(n,) tuples of turns; turn i answers turn i of the prompt."""
    model_a: Objects | None = None
    """(n,) model names, "" where unknown. Test files have none, so a submittable model cannot use them as input."""
    model_b: Objects | None = None
    """(n,) model names of the other side, as in `model_a`."""
    winner: Labels | None = None
    """(n,) `Winner` values; None for battles to predict."""
    soft: Proba | None = None
    """(n, 3) soft targets that replace the winners in training: a teacher's predictions or shares of votes."""
    weight: FloatArray | None = None
    """(n,) weights of the battles in training, all above 0; None if all are 1."""
    inputs: FloatArray | None = None
    """(n, k, 3) predictions of k other experiments, by models that were not trained on these battles' prompts."""
    input_names: tuple[str, ...] = ()
    """Names of those k experiments."""
    repairs: tuple[str, ...] = field(default=(), compare=False)
    """Repairs that were necessary to read these battles, one line each."""

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        columns = [name for name, value in self._columns().items() if value is not None]
        return f"Battles({len(self):,} rows: {', '.join(columns)})"

    def take(self, rows: npt.NDArray[Any] | slice) -> Self:
        """Return the battles at `rows`, which are indices, a mask or a slice. `repairs` are not kept."""
        taken: dict[str, Any] = {name: None if v is None else v[rows] for name, v in self._columns().items()}
        return replace(self, repairs=(), **taken)

    def swap(self) -> Self:
        """Return the same battles with sides A and B exchanged, in the texts, names, winners and probabilities."""
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
    def labels(self) -> Labels:
        """(n,) winners. Raises UserError if the battles have none."""
        if self.winner is None:
            raise UserError(
                "these battles have no winners, which training and scoring need. Use a file with the columns "
                f"{', '.join(WINNERS)}."
            )
        return self.winner

    @property
    def weights(self) -> FloatArray:
        """(n,) weights of the battles in training; 1 if none are given."""
        return np.ones(len(self)) if self.weight is None else self.weight

    def content_hash(self) -> str:
        """Return 16 hexadecimal digits that identify the content and order of these battles.

        It depends on every column: ids, texts, model names, labels, weights and inputs. It ignores `repairs`.
        """
        digest = hashlib.sha256()
        for name, column in self._columns().items():
            if column is not None:
                digest.update(json.dumps([name, column.tolist()]).encode())
        if self.input_names:
            digest.update(json.dumps(self.input_names).encode())
        return digest.hexdigest()[:16]

    def _columns(self) -> dict[str, npt.NDArray[Any] | None]:
        """Return the fields that have a row per battle."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TABLE_FIELDS}


def concatenate(parts: list[Battles]) -> Battles:
    """Return one table of all parts, in order. A column that is missing from any part is dropped."""
    tables = [part._columns() for part in parts]
    columns: dict[str, Any] = {}
    for name in tables[0]:
        values = [table[name] for table in tables]
        columns[name] = None if any(v is None for v in values) else np.concatenate(values)  # type: ignore[arg-type]
    names = parts[0].input_names if columns["inputs"] is not None else ()
    repairs = tuple(line for part in parts for line in part.repairs)
    return Battles(**columns, input_names=names, repairs=repairs)


def object_array(values: Sequence[Any]) -> Objects:
    """Return a one-dimensional object array. numpy alone would stack tuples into a two-dimensional one."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
