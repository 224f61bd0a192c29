"""Predictions are ids with three probabilities each; a prediction file is also a submission file."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from pairrank.atomic import atomic_path
from pairrank.data.battles import WINNERS, Objects, object_array
from pairrank.data.cells import INEXACT, id_of, is_inexact
from pairrank.data.probabilities import SMALLEST, SWAP, Proba, from_logs
from pairrank.errors import UserError, combined_error, excerpt, shorten
from pairrank.files import csv_rows

COLUMNS = ("id", *WINNERS)
"""The columns of a prediction file."""

SUM_TOLERANCE = 1e-3
"""Largest deviation from 1 of the sum of a model's probabilities."""

ROUNDED = 0.0151
"""Largest deviation of a row's sum in a file: three numbers of two decimals are rounded by up to 0.005 each."""

WRITTEN = 1e-6
"""Deviation up to which a row of a file is used unchanged; rows that are rounded more are normalised."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The probabilities of n battles that A wins, B wins or the battle is a tie."""

    id: Objects
    """(n,) battle ids as text. Each id occurs once."""
    proba: Proba
    """(n, 3) probabilities in the columns A, B, tie; each row sums to 1."""

    def __len__(self) -> int:
        return len(self.id)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the predictions of all parts, which share no battle, one after the other."""
        return cls(np.concatenate([part.id for part in parts]), np.concatenate([part.proba for part in parts]))

    def swap(self) -> Self:
        """Return the predictions for the same battles with A and B exchanged."""
        return type(self)(self.id, self.proba[:, SWAP])

    def align(self, ids: Sequence[str] | Objects, place: str = "predictions") -> Self:
        """Return the rows of `ids` in the order of `ids`.

        Raises UserError, beginning with `place`, if an id has no prediction.
        """
        rows = {name: row for row, name in enumerate(self.id.tolist())}
        missing = [f"id {name}: no prediction" for name in ids if name not in rows]
        if missing:
            raise combined_error(place, missing, "Predict these battles again.")
        order = np.array([rows[name] for name in ids], dtype=np.int64)
        return type(self)(self.id[order], self.proba[order])

    def complaints(self, tolerance: float = SUM_TOLERANCE) -> list[str]:
        """Return one complaint per fault; an empty list if these predictions are valid.

        `tolerance` is the largest deviation of a row's sum from 1.
        """
        counts = Counter(self.id.tolist())
        found = [f"id {name}: found in {count} rows, expected one" for name, count in counts.items() if count > 1]
        found += [f"row {row}: no id, expected one" for row, name in enumerate(self.id, 1) if not name]
        if self.proba.shape != (shape := (len(self.id), len(WINNERS))):
            return [*found, f"{self.proba.shape} probabilities for {len(self.id)} ids, expected {shape}"]
        finite = np.asarray(np.isfinite(self.proba).all(axis=1))
        outside = np.asarray(finite & ((self.proba < 0) | (self.proba > 1)).any(axis=1))
        sums = np.where(finite[:, None], self.proba, 0).sum(axis=1)
        unequal = finite & ~outside & (np.abs(sums - 1) > tolerance)
        for row in np.flatnonzero(~finite | outside | unequal):
            if not finite[row]:
                fault = "a probability is missing, infinite or not a number, expected three from 0 to 1"
            elif outside[row]:
                fault = f"probabilities {self.proba[row].tolist()}, expected all from 0 to 1"
            else:
                fault = f"probabilities sum to {sums[row]:.6g}, expected 1 (write at least two decimals)"
            found.append(f"id {self.id[row]}: {fault}")
        return found

    def renormalised(self) -> Self:
        """Return these predictions with rows that sum to 1; rows that were written in full stay to the last bit."""
        sums = self.proba.sum(axis=1, keepdims=True)
        return type(self)(self.id, np.where(np.abs(sums - 1) > WRITTEN, self.proba / sums, self.proba))

    def validate(self, place: str = "predictions", tolerance: float = SUM_TOLERANCE) -> Self:
        """Return these predictions if they are valid; otherwise raise UserError with every complaint."""
        if complaints := self.complaints(tolerance):
            raise combined_error(
                place, complaints, f"Expected the columns {', '.join(COLUMNS)}, one row per battle."
            )
        return self

    def write(self, path: Path) -> None:
        """Write a file in the competition's submission format.

        Nine significant digits restore every float32 exactly. Raises UserError if the predictions are not valid.
        """
        self.validate(str(path))
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(COLUMNS) + "\n")
            file.writelines(prediction_lines(self))


def prediction_lines(predictions: Predictions) -> list[str]:
    """Return the lines of a prediction file without the header."""
    rows = zip(predictions.id.tolist(), predictions.proba.tolist(), strict=True)
    return [f"{quoted(name)},{a:.9g},{b:.9g},{tie:.9g}\n" for name, (a, b, tie) in rows]


def predictions_hash(predictions: Predictions) -> str:
    """Return 16 hexadecimal digits that identify the predictions, whatever the line ends of their file.

    A run keeps them with its scores, so that both can be matched.
    """
    return hashlib.sha256("".join(prediction_lines(predictions)).encode()).hexdigest()[:16]


def read_predictions(path: str | Path) -> Predictions:
    """Read and validate a prediction file (.csv or .csv.gz) from any source.

    Columns are found by name, and others are ignored. Raises UserError with every complaint about the file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. Expected predictions with the columns {', '.join(COLUMNS)}. Check the path."
        )
    rows = csv_rows(path)
    header = [name.strip() for name in next(rows)]
    wrong = [f"missing column {name!r}" for name in COLUMNS if name not in header]
    wrong += [f"column {name!r} occurs more than once" for name in COLUMNS if header.count(name) > 1]
    if wrong:
        listed = ", ".join(map(excerpt, header[:20]))
        raise combined_error(str(path), wrong, f"Found the columns {listed}. Rename, add or remove columns.")
    places = [header.index(name) for name in COLUMNS]
    table = list(rows)
    if complaints := [
        f"row {number}: {len(row)} cells, expected {len(header)} as in the header"
        for number, row in enumerate(table, 1)
        if len(row) != len(header)
    ]:
        raise combined_error(str(path), complaints, "Write the file again. Decimal commas are not supported.")
    inexact = [row[places[0]] for row in table if is_inexact(row[places[0]])]
    if complaints := [f"id {shorten(cell, 100)}: {INEXACT}" for cell in inexact]:
        raise combined_error(str(path), complaints, "Export the ids as text or as integers.")
    ids = object_array([id_of(row[places[0]]) for row in table])
    proba = np.array([[_number(row[i]) for i in places[1:]] for row in table], dtype=np.float64)
    proba = proba.reshape(len(ids), len(WINNERS))
    return Predictions(ids, proba).validate(str(path), ROUNDED).renormalised()


def geometric_mean(members: Sequence[Predictions]) -> Predictions:
    """Return the normalised geometric mean of several predictions of the same battles, in the order of the first.

    It averages margins and tie logits, so the result does not depend on which answer is called A. Raises UserError
    if a battle is missing from any of the predictions.
    """
    ids = members[0].id
    for member in members[1:]:
        members[0].align(member.id, "the first of the predictions to average")
    logs = [
        np.log(np.clip(member.align(ids, "predictions to average").proba, SMALLEST, None)) for member in members
    ]
    return Predictions(ids, from_logs(np.mean(logs, axis=0)))


def _number(cell: str) -> float:
    """Return a cell as a number, or NaN if it is not one."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def quoted(name: str) -> str:
    """Return an id as a CSV cell, quoted if necessary."""
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\n\r') else name
