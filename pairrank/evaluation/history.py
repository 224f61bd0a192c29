"""The history of a fine-tuning run: the step table that the published notebook shows."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairrank.files import write_text

HISTORY = (
    "Step",
    "Training Loss",
    "Validation Loss",
    "Accuracy",
    "Log Loss",
    "Runtime",
    "Samples Per Second",
    "Steps Per Second",
)
"""Columns of a history, with the names of the published notebook; Runtime is in seconds."""

LOG_KEYS = {
    "Training Loss": "loss",
    "Validation Loss": "eval_loss",
    "Accuracy": "eval_accuracy",
    "Log Loss": "eval_log_loss",
    "Runtime": "eval_runtime",
    "Samples Per Second": "eval_samples_per_second",
    "Steps Per Second": "eval_steps_per_second",
}
"""Column -> its key in the log of the Hugging Face Trainer."""


def history_rows(log: Sequence[dict[str, Any]]) -> list[dict[str, float | None]]:
    """Return the Trainer's log as one row per logged step, in order; what was not measured is None."""
    rows: dict[int, dict[str, float | None]] = {}
    for entry in log:
        found = {name: entry[key] for name, key in LOG_KEYS.items() if key in entry}
        if found:
            rows.setdefault(entry["step"], dict.fromkeys(HISTORY)).update(Step=entry["step"], **found)
    return [rows[step] for step in sorted(rows)]


def write_history(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write history.csv: the rows of `history_rows`, each with its Fold."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["Fold", *HISTORY], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_history(path: Path) -> list[dict[str, float | None]]:
    """Return the rows of a history.csv, with None for what was not measured.

    Returns [] if the file is missing or is not such a table.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [{name: float(row[name]) if row[name] else None for name in ("Fold", *HISTORY)} for row in rows]
    except (KeyError, ValueError, TypeError):
        return []
