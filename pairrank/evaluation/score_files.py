"""Scores of single answers, as reward models give them, become predictions by a temperature and a tie logit.

Both are fitted out of fold, so that no battle has a part in its own prediction.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from pairrank.data.battles import Battles, Winner, object_array
from pairrank.data.cells import id_of
from pairrank.data.folds import assign_folds
from pairrank.data.predictions import Predictions
from pairrank.data.probabilities import FloatArray, Labels, log_softmax, softmax
from pairrank.data.tables import read_tables
from pairrank.errors import UserError, combined_error, excerpt

COLUMNS = ("id", "score_a", "score_b")
"""The columns of a file of scores."""

FOLDS = 5
"""Folds of the fit; each is predicted by the numbers that fit the others best."""

BLOCK = 20_000


class FittedScores(NamedTuple):
    """Predictions from scores, and what was fitted, as the mean over the folds."""

    predictions: Predictions
    temperature: float
    """By what differences of scores are divided; half of the result is the margin."""
    tie_logit: float


def has_scores(path: Path) -> bool:
    """Return whether a file has the columns of a file of scores; raises UserError if it cannot be read."""
    return set(COLUMNS) <= set(next(read_tables(path, 1, COLUMNS)).columns)


def read_scores(path: Path, battles: Battles, is_partial: bool = True) -> FittedScores:
    """Return out-of-fold predictions from a file with the scores of both answers of battles that have winners.

    Unless `is_partial`, every battle must have scores.

    The logits of A, B and tie are (m, -m, t) with m = (score of A - score of B) / (2 temperature), Davidson's model
    of ties with a single strength of ties. Raises UserError for a score that is not a number, an id that occurs
    twice or is not among the battles, and if a fold leaves no battles to fit.
    """
    ids, differences = _differences(path, battles, is_partial)
    rows = {name: row for row, name in enumerate(battles.id.tolist())}
    order = np.array([rows[name] for name in ids], dtype=np.int64)
    winner, fold = battles.labels[order], assign_folds(battles.take(order), FOLDS)
    proba, fits = np.empty((len(ids), 3)), []
    for number in np.unique(fold):
        held = fold == number
        if held.all():
            raise UserError(f"{path}: all battles are in fold {number}, so none are left to fit on.")
        scale, tie = _fit(differences[~held], winner[~held])
        proba[held] = softmax(_logits(differences[held], scale, tie))
        fits.append((1 / scale, tie))
    temperature, tie = np.mean(fits, axis=0).tolist()
    return FittedScores(Predictions(object_array(ids), proba), temperature, tie)


def _differences(path: Path, battles: Battles, is_partial: bool) -> tuple[list[str], FloatArray]:
    """Return ids and differences of scores; raises UserError with all complaints."""
    known = set(battles.id.tolist())
    ids: list[str] = []
    differences: list[float] = []
    complaints: list[str] = []
    for table in read_tables(path, BLOCK, COLUMNS):
        complaints += table.complaints
        for row in table.rows():
            name, scores = id_of(row["id"]), [_number(row[column]) for column in COLUMNS[1:]]
            if not np.isfinite(scores[0] - scores[1]):
                found = ", ".join(excerpt(row[column], 40) for column in COLUMNS[1:])
                complaints.append(f"id {excerpt(name, 100)}: scores {found}, expected two finite numbers")
            elif name not in known:
                complaints.append(f"id {excerpt(name, 100)}: not among the battles of --data")
            ids.append(name)
            differences.append(scores[0] - scores[1])
    if len(set(ids)) < len(ids):
        complaints.append(f"{len(ids) - len(set(ids)):,} ids occur more than once, expected once")
    if not is_partial and (missing := known.difference(ids)):
        complaints.append(f"{len(missing):,} battles have no scores (the first id: {min(missing)}), expected all")
    if complaints or not ids:
        raise combined_error(str(path), complaints or ["no rows"], f"Expected the columns {', '.join(COLUMNS)}.")
    return ids, np.array(differences)


def _number(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]  # anything else is not a number
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _logits(differences: FloatArray, scale: float, tie: float) -> FloatArray:
    margin = differences * scale / 2
    return np.stack([margin, -margin, np.full(len(margin), tie)], axis=1)


def _fit(differences: FloatArray, winner: Labels) -> tuple[float, float]:
    """Return the scale and tie logit of the lowest log loss; the scale of useless scores is almost 0."""
    unit = float(np.std(differences)) or 1.0
    share = np.clip((winner == Winner.TIE).mean(), 1e-3, 1 - 1e-3)

    def loss(values: FloatArray) -> float:
        logs = log_softmax(_logits(differences / unit, float(np.exp(values[0])), float(values[1])))
        return float(-logs[np.arange(len(winner)), winner].mean())

    begin = np.array([0.0, np.log(2 * share / (1 - share))])
    found = minimize(loss, begin, method="L-BFGS-B", bounds=[(-12, 5), (-12, 12)])
    return float(np.exp(found.x[0])) / unit, float(found.x[1])
