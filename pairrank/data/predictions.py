"""Predictions are ids with three probabilities, in memory and on disk: a prediction file is a submission file."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from pairrank.data.battles import WINNERS, Objects, object_array
from pairrank.data.probabilities import SMALLEST, SWAP, Proba, from_logs
from pairrank.data.turns import repair_text
from pairrank.errors import UserError, combined_error
from pairrank.files import atomic_path, csv_rows

COLUMNS = ("id", *WINNERS)

SUM_TOLERANCE = 1e-3
"""Rows may sum to 1 only to this; a notebook's rounded file passes, raw logits do not."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """n ids and their probabilities that A wins, B wins, neither does."""

    id: Objects
    """(n,) battle ids as text, each once."""
    proba: Proba
    """(n, 3) columns A, B, tie; rows sum to 1."""

    def __len__(self) -> int:
        return len(self.id)

    def swap(self) -> Self:
        """What these predictions say of the same battles with A and B in each other's place."""
        return type(self)(self.id, self.proba[:, SWAP])

    def align(self, ids: Sequence[str] | Objects, place: str = "predictions") -> Self:
        """The rows of `ids`, in their order; raises UserError if any of them is missing."""
        rows = {name: row for row, name in enumerate(self.id.tolist())}
        missing = [f"id {name}: no prediction" for name in ids if name not in rows]
        if missing:
            raise combined_error(place, missing, "Make the predictions again for these very battles.")
        order = np.array([rows[name] for name in ids], dtype=np.int64)
        return type(self)(self.id[order], self.proba[order])

    def complaints(self) -> list[str]:
        """Everything that keeps these from being valid predictions; empty when they are."""
        counts = Counter(self.id.tolist())
        found = [f"id {name}: stands in {count} rows, expected one" for name, count in counts.items() if count > 1]
        found += [f"row {row}: no id" for row, name in enumerate(self.id, 1) if not name]
        if self.proba.shape != (len(self.id), 3):
            return [
                *found,
                f"{self.proba.shape} probabilities for {len(self.id)} ids, expected {(len(self.id), 3)}",
            ]
        finite = np.asarray(np.isfinite(self.proba).all(axis=1))
        found += [
            f"id {self.id[row]}: a probability is missing, infinite or no number" for row in np.flatnonzero(~finite)
        ]
        outside = finite & ((self.proba < 0) | (self.proba > 1)).any(axis=1)
        found += [
            f"id {self.id[row]}: {self.proba[row].tolist()} lies outside 0 to 1" for row in np.flatnonzero(outside)
        ]
        sums = np.where(finite[:, None], self.proba, 0).sum(axis=1)
        wrong = finite & ~outside & (np.abs(sums - 1) > SUM_TOLERANCE)
        found += [
            f"id {self.id[row]}: probabilities sum to {sums[row]:.6g}, expected 1" for row in np.flatnonzero(wrong)
        ]
        return found

    def validate(self, place: str = "predictions") -> Self:
        """These predictions, if they are valid; raises UserError with every complaint if not."""
        if complaints := self.complaints():
            raise combined_error(
                place, complaints, f"Expected the columns {', '.join(COLUMNS)}, one row per battle."
            )
        return self

    def write(self, path: Path) -> None:
        """Write the competition's submission format; nine digits are enough to read the same float32 back."""
        self.validate(str(path))
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(COLUMNS) + "\n")
            file.writelines(prediction_lines(self))


def prediction_lines(predictions: Predictions) -> list[str]:
    """The lines of a prediction file, without its header."""
    rows = zip(predictions.id.tolist(), predictions.proba.tolist(), strict=True)
    return [f"{_quoted(name)},{a:.9g},{b:.9g},{tie:.9g}\n" for name, (a, b, tie) in rows]


def predictions_hash(predictions: Predictions) -> str:
    """16 hexadecimal digits that tie a run's numbers to its predictions, whatever line ends their file has."""
    return hashlib.sha256("".join(prediction_lines(predictions)).encode()).hexdigest()[:16]


def read_predictions(path: str | Path) -> Predictions:
    """Read and validate a prediction file, whoever made it; raises UserError with every complaint."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a prediction file with the columns {', '.join(COLUMNS)}.")
    rows = csv_rows(path)
    header = [name.strip() for name in next(rows)]
    if missing := [f"missing column {name!r}" for name in COLUMNS if name not in header]:
        raise combined_error(str(path), missing, f"Found the columns {', '.join(map(repr, header))}.")
    at = [header.index(name) for name in COLUMNS]
    cells = [[row[i] if i < len(row) else "" for i in at] for row in rows]
    ids = object_array([repair_text(name).strip() for name, *_ in cells])
    proba = np.array([list(map(_number, numbers)) for _, *numbers in cells], dtype=np.float64)
    return Predictions(ids, proba.reshape(len(ids), len(WINNERS))).validate(str(path))


def geometric_mean(members: Sequence[Predictions]) -> Predictions:
    """The normalised geometric mean of several predictions of the same battles, row by row.

    It is the mean in log space, where margins and tie logits live, so it commutes with a swap. Raises UserError
    if a battle is missing from any of them, the first included.
    """
    ids = members[0].id
    for member in members[1:]:
        members[0].align(member.id, "the first of the predictions to average")
    logs = [
        np.log(np.clip(member.align(ids, "predictions to average").proba, SMALLEST, None)) for member in members
    ]
    return Predictions(ids, from_logs(np.mean(logs, axis=0)))


def _number(cell: str) -> float:
    """A cell as a number, NaN if it is none."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\n\r') else name
