"""A battle is a prompt, two answers to it and, in training data, the preference of a voter."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import cached_property
from itertools import chain
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pairrank.data.cells import name_of
from pairrank.data.probabilities import SWAP, FloatArray, Labels, Proba
from pairrank.data.prompt_key_cache import cache_keys, cached_keys
from pairrank.errors import UserError

TEXTS = ("prompt", "response_a", "response_b")
MODELS = ("model_a", "model_b")
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
"""The competition's label columns, in the order of the columns of every probability array."""

TABLE_FIELDS = ("input_names", "repairs", "lost_rows")
"""Fields of `Battles` that describe the whole table and have no row per battle."""

ONE_SIDED = 0.8
"""Share of the decided battles; in shuffled battles neither side wins so many."""

Objects = npt.NDArray[np.object_]
"""A one-dimensional array of Python objects."""


TEACHES = ("both", "margin", "tie")
"""Values of `Battles.teaches`."""

DETAILS = ("group", "judge", "language", "category", "time")
"""Text columns that describe a vote."""

HASHED = 256
"""Battles whose cells are hashed together."""

KINDS = {"winner": "iu", "soft": "f", "weight": "fiu", "inputs": "f", "strength": "f"}
KINDS |= {"both_bad": "b", "is_extra": "b", "is_voted": "b"}
"""Kinds of the dtypes of columns (`numpy.dtype.kind`); all others hold objects."""

EXPECTED_TYPES = {
    "O": "object (`object_array` makes one)",
    "b": "true or false",
    "iu": "integers",
    "f": "floats",
    "fiu": "numbers",
}


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
    group: Objects | None = None
    """(n,) what must not be divided between folds besides the prompt, such as a session; "" where unknown."""
    judge: Objects | None = None
    """(n,) who has voted."""
    language: Objects | None = None
    """(n,) the language of the prompt, as the file spells it."""
    category: Objects | None = None
    """(n,) the kind of the prompt."""
    time: Objects | None = None
    """(n,) when the vote was given."""
    both_bad: npt.NDArray[np.bool_] | None = None
    """(n,) whether the voter called both answers bad, which is a tie."""
    strength: FloatArray | None = None
    """(n,) how much better A is than B, from -1 to 1; 0 for a tie and where it is not known."""
    is_extra: npt.NDArray[np.bool_] | None = None
    """(n,) whether a battle is of another source, for training only; None if none is."""
    is_voted: npt.NDArray[np.bool_] | None = None
    """(n,) whether a person has decided a battle, and not a teacher's model; None if a person has decided all."""
    teaches: Objects | None = None
    """(n,) which head a battle trains: "both", "margin" (who has won) or "tie"; None if all train both."""
    input_names: tuple[str, ...] = ()
    """Names of those k experiments."""
    repairs: tuple[str, ...] = field(default=(), compare=False)
    """Repairs that were necessary to read these battles, one line each."""
    lost_rows: int = field(default=0, compare=False)
    """Number of rows of a file to predict that gave no battle, without repeated headers."""

    def __post_init__(self) -> None:
        """Raise UserError for columns that are not as described above, such as cells that are not yet parsed."""
        if complaints := _column_complaints(self):
            raise UserError(f"Battles: {' '.join(complaints)} `read_battles` reads files.")

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        columns = [name for name, value in self.columns().items() if value is not None]
        return f"Battles({len(self):,} rows: {', '.join(columns)})"

    def take(self, rows: npt.NDArray[Any] | slice) -> Self:
        """Return the battles at `rows`, which are indices, a mask or a slice.

        `repairs` and `lost_rows` are not kept.
        """
        taken: dict[str, Any] = {name: None if v is None else v[rows] for name, v in self.columns().items()}
        if (keys := cached_keys(self.prompt)) is not None:
            cache_keys(taken["prompt"], keys[rows])
        return replace(self, repairs=(), lost_rows=0, **taken)

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
            strength=None if self.strength is None else -self.strength,
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

    def taught(self, head: str) -> npt.NDArray[np.bool_]:
        """Return (n,) whether each battle trains a head: "margin" or "tie"."""
        if self.teaches is None:
            return np.ones(len(self), dtype=bool)
        return np.isin(self.teaches.astype(str), ("both", head))

    @property
    def own(self) -> npt.NDArray[np.bool_]:
        """(n,) whether each battle belongs to the data itself, so that it may be used for early stopping."""
        return np.ones(len(self), dtype=bool) if self.is_extra is None else ~self.is_extra

    @property
    def voted(self) -> npt.NDArray[np.bool_]:
        """(n,) whether a person has decided each battle, so that its winner is an observation."""
        return np.ones(len(self), dtype=bool) if self.is_voted is None else self.is_voted

    @property
    def weights(self) -> FloatArray:
        """(n,) weights of the battles in training; 1 if none are given."""
        return np.ones(len(self)) if self.weight is None else self.weight

    def label_warning(self) -> str:
        """Return a warning if the winners are so one-sided that a model learns little else; "" otherwise.

        This is the case if all winners are equal or if one side has won at least `ONE_SIDED` of 50 or more battles
        that are not ties, as in files that always put the preferred answer first.
        """
        return "" if self.winner is None else one_sided(self.winner)

    def content_hash(self) -> str:
        """Return 16 hexadecimal digits that identify the content and order of these battles.

        It depends on every column: ids, texts, model names, labels, weights and inputs. It ignores `repairs`. It is
        computed once: columns must not be changed afterwards.
        """
        return self._content_hash

    @cached_property
    def _content_hash(self) -> str:
        digest = hashlib.sha256()
        for name, column in self.columns().items():
            if column is not None:
                # The JSON of [name, column], some battles at a time, because a column may be as large as its file.
                digest.update(f"[{json.dumps(name)}, [".encode())
                for start in range(0, len(column), HASHED):
                    cells = json.dumps(column[start : start + HASHED].tolist())[1:-1]
                    digest.update((", " if start else "").encode() + cells.encode())
                digest.update(b"]]")
        if self.input_names:
            digest.update(json.dumps(self.input_names).encode())
        return digest.hexdigest()[:16]

    def columns(self) -> dict[str, npt.NDArray[Any] | None]:
        """Return the fields that have a row per battle."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TABLE_FIELDS}


def require_both_heads(train: Battles) -> None:
    """Raise UserError if some battles teach one head alone, which a model with a single head cannot learn from."""
    if train.teaches is not None and (train.teaches != "both").any():
        raise UserError(
            "extra battles that teach the margin or the tie alone need a model that learns the two apart, and this "
            'one learns all three outcomes at once. Use teaches = "both", or another model.'
        )


def one_sided(winner: Labels) -> str:
    """Return the warning of `Battles.label_warning` for these winners; "" if there is none."""
    if not len(winner):
        return ""
    counts = np.bincount(winner, minlength=3)
    wins, name = max((int(counts[0]), "A"), (int(counts[1]), "B"))
    decided = int(counts[0] + counts[1])
    if counts.max() == len(winner):
        what = f"ALL {len(winner):,} BATTLES HAVE THE SAME WINNER, {('A', 'B', 'tie')[counts.argmax()]}"
    elif decided >= 50 and wins >= ONE_SIDED * decided:
        what = f"{name} HAS WON {wins:,} OF {decided:,} DECIDED BATTLES"
    else:
        return ""
    return f"{what}. A low log loss then says nothing about the answers. Are the sides in random order?"


def _column_complaints(battles: Battles) -> list[str]:
    """Return the first complaints about types, lengths and contents of columns, in this order."""
    columns = {name: column for name, column in battles.columns().items() if column is not None}
    if wrong := [name for name, column in columns.items() if not isinstance(column, np.ndarray)]:
        return [f"{name}: {type(columns[name]).__name__}, expected a numpy array." for name in wrong]
    if wrong := [name for name, column in columns.items() if column.dtype.kind not in KINDS.get(name, "O")]:
        name = wrong[0]
        return [f"{name}: dtype {columns[name].dtype}, expected {EXPECTED_TYPES[KINDS.get(name, 'O')]}."]
    n = columns["id"].size
    shapes: dict[str, tuple[int, ...]] = {"soft": (n, 3), "inputs": (n, len(battles.input_names), 3)}
    if wrong := [name for name, column in columns.items() if column.shape != shapes.get(name, (n,))]:
        return [f"{name}: shape {columns[name].shape}, expected {shapes.get(name, (n,))}." for name in wrong]
    texts = {name: columns[name].tolist() for name in TEXTS}
    if wrong := [name for name in TEXTS if not set(map(type, texts[name])) <= {tuple}]:
        expected = "expected a tuple of turns in every row (`parse_turns` parses a cell)."
        return [f"{', '.join(wrong)}: {expected}"]
    if wrong := [name for name in TEXTS if not set(map(type, chain.from_iterable(texts[name]))) <= {str}]:
        return [f"{', '.join(wrong)}: expected text in every turn."]
    names = [name for name in ("id", *MODELS, *DETAILS, "teaches") if name in columns]
    complaints = [
        f"{name}: expected text in every row." for name in names if not set(map(type, columns[name])) <= {str}
    ]
    if battles.winner is not None and not np.isin(battles.winner, list(Winner)).all():
        complaints.append("winner: expected 0, 1 or 2 in every row.")
    if battles.weight is not None and not ((battles.weight > 0) & (battles.weight < np.inf)).all():
        complaints.append("weight: expected finite numbers above 0.")
    if battles.teaches is not None and not set(battles.teaches) <= set(TEACHES):
        complaints.append(f"teaches: expected one of {', '.join(TEACHES)} in every row.")
    if battles.strength is not None and not (np.abs(battles.strength) <= 1).all():
        complaints.append("strength: expected numbers from -1 to 1.")
    if wrong := [name for name in ("soft", "inputs") if name in columns and not np.isfinite(columns[name]).all()]:
        complaints.append(f"{', '.join(wrong)}: expected finite numbers.")
    complaints += [
        f'{name}: {shown[0]!r} is a spelling of a missing name, expected "".'
        for name in MODELS
        if name in columns and (shown := sorted({x for x in columns[name] if x and not name_of(x)}))
    ]
    return complaints


def evenly_spaced(battles: Battles, count: int) -> Battles:
    """Return up to `count` battles, at equal distances in the table, from the first to the last."""
    return battles.take(np.unique(np.linspace(0, len(battles) - 1, min(count, len(battles))).astype(np.int64)))


def concatenate(parts: list[Battles]) -> Battles:
    """Return one table of all parts, in order. A column that is missing from any part is dropped."""
    tables = [part.columns() for part in parts]
    columns: dict[str, Any] = {}
    for name in tables[0]:
        values = [table[name] for table in tables]
        columns[name] = None if any(v is None for v in values) else np.concatenate(values)  # type: ignore[arg-type]
    names = parts[0].input_names if columns["inputs"] is not None else ()
    repairs = tuple(line for part in parts for line in part.repairs)
    lost = sum(part.lost_rows for part in parts)
    return Battles(**columns, input_names=names, repairs=repairs, lost_rows=lost)


def object_array(values: Sequence[Any]) -> Objects:
    """Return a one-dimensional object array. numpy alone would stack tuples into a two-dimensional one."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
