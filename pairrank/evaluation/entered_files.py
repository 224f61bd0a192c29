"""A file of predictions from any source is read for an entry, with all complaints about it at once."""

from pathlib import Path

import numpy as np

from pairrank.data.battles import WINNERS, Battles, object_array
from pairrank.data.cells import INEXACT, id_of, is_inexact, number_of
from pairrank.data.predictions import COLUMNS, ROUNDED, Predictions
from pairrank.data.tables import read_tables
from pairrank.errors import combined_error, excerpt
from pairrank.evaluation.manifest import id_complaints
from pairrank.evaluation.score_files import FittedScores, has_scores, read_scores

BLOCK = 20_000


def read_entered_file(
    path: Path, battles: Battles, is_partial: bool = False
) -> tuple[Predictions, FittedScores | None]:
    """Return the predictions in a file, and what was fitted if the file has scores of both answers.

    Any kind of table is read: CSV, JSON Lines or Parquet. Unless `is_partial`, every battle must have a prediction.
    Raises UserError with all complaints about the rows.
    """
    if has_scores(path):
        fitted = read_scores(path, battles, is_partial)
        return fitted.predictions, fitted
    return read_probabilities(path, battles, is_partial), None


def read_probabilities(path: Path, battles: Battles, is_partial: bool = False) -> Predictions:
    """Return the predictions in a file with the columns of a prediction file."""
    ids: list[str] = []
    rows: list[list[float | None]] = []
    complaints: list[str] = []
    for table in read_tables(path, BLOCK, COLUMNS):
        if missing := [f"missing column {name!r}" for name in COLUMNS if name not in table.columns]:
            found = ", ".join(map(excerpt, table.columns[:20]))
            raise combined_error(str(path), missing, f"Found the columns {found}. Rename or add columns.")
        complaints += table.complaints
        for row in table.rows():
            if is_inexact(row["id"]):
                complaints.append(f"id {excerpt(row['id'], 100)}: {INEXACT}")
            ids.append(id_of(row["id"]))
            rows.append([number_of(row[name]) for name in WINNERS])
    read = Predictions(object_array(ids), np.array(rows, dtype=np.float64).reshape(-1, len(WINNERS)))
    complaints += [*read.complaints(ROUNDED), *id_complaints(read, battles, is_partial)]
    if complaints or not ids:
        expected = f"Expected the columns {', '.join(COLUMNS)}, one row per battle."
        raise combined_error(str(path), complaints or ["no rows"], expected)
    return read.renormalised()
