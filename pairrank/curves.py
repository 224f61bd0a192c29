"""The history of a fine-tuning, as the published notebook shows it: a step table and its curves."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairrank.files import write_text, written_whole

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
"""Columns of a history, named as the published notebook names them; Runtime in seconds."""

LOGGED = {
    "Training Loss": "loss",
    "Validation Loss": "eval_loss",
    "Accuracy": "eval_accuracy",
    "Log Loss": "eval_log_loss",
    "Runtime": "eval_runtime",
    "Samples Per Second": "eval_samples_per_second",
    "Steps Per Second": "eval_steps_per_second",
}
"""What the Trainer's log calls them."""


def history_rows(log: Sequence[dict[str, Any]]) -> list[dict[str, float | None]]:
    """The Trainer's log as one row an epoch: what was not measured is None."""
    rows: dict[int, dict[str, float | None]] = {}
    for entry in log:
        found = {name: entry[key] for name, key in LOGGED.items() if key in entry}
        if found:
            rows.setdefault(entry["step"], dict.fromkeys(HISTORY)).update(Step=entry["step"], **found)
    return [rows[step] for step in sorted(rows)]


def write_history(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write history.csv: one row an epoch of each fold."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["Fold", *HISTORY], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw training and validation loss, accuracy and log loss against steps: one line a fold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, metric = figure.subplots(1, 2)
    for fold in sorted({row["Fold"] for row in rows}):
        of_fold = [row for row in rows if row["Fold"] == fold]
        steps = [row["Step"] for row in of_fold]
        first = fold == rows[0]["Fold"]
        for axes, name, style in (
            (loss, "Training Loss", "C0--"),
            (loss, "Validation Loss", "C1-"),
            (metric, "Accuracy", "C2--"),
            (metric, "Log Loss", "C1-"),
        ):
            values = [float("nan") if row[name] is None else row[name] for row in of_fold]
            axes.plot(steps, values, style, marker="o", markersize=3, label=name if first else None, alpha=0.7)
    for axes, title in ((loss, "Loss (nats)"), (metric, "On held-out training prompts")):
        axes.set(xlabel="Step", title=title)
        axes.legend()
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=120)
