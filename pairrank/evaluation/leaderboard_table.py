"""The leaderboard as text: Markdown for readers, JSON with every digit, and what must be said under the table."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pairrank.data.battles import TEXTS
from pairrank.data.folds import name_folds
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.evaluation.scoring import Difference
from pairrank.files import write_json, write_text

DASH = "–"
"""What an entry cannot tell."""


def to_json(board: Leaderboard, path: Path) -> None:
    """Write the table with every digit."""
    write_json(path, asdict(board))


def to_markdown(board: Leaderboard, path: Path) -> None:
    """Write the table for readers."""
    write_text(path, markdown(board))


def markdown(board: Leaderboard) -> str:
    """The whole table as Markdown, with what a reader must know to read it."""
    table = columns(board)
    lines = [
        f"# Leaderboard: {_escaped(board.data)}",
        "",
        f"{board.battles:,} battles with {board.prompts:,} distinct prompts. "
        "Out-of-fold log loss in nats, lower is better.",
        "",
        "| " + " | ".join(map(_escaped, table)) + " |",
        "|" + "---|" * len(table),
    ]
    lines += ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in zip(*table.values(), strict=True)]
    lines += ["", *notes(board)]
    return "\n".join(lines) + "\n"


def notes(board: Leaderboard) -> list[str]:
    """What must be said under the table."""
    lines = [
        "± is the standard error, [ ] the 95 % interval of a paired bootstrap over prompts, on the battles that "
        "both rows have predicted. They cover which battles were drawn, not the seed.",
        "Of twenty differences to one reference, about one looks real by chance.",
    ]
    if any(row.battles < board.battles for row in board.rows):
        lines.append(
            "Rows that cover fewer battles stand below the others: their log loss is of those battles alone, and "
            "only their differences compare."
        )
    if board.floor is not None:
        lines.append(
            f"The battles are simulated: the true probabilities score {board.floor:.4f}, "
            "on average the best possible."
        )
    lines += [
        f"{row.label}: its setting was searched on {name_folds(row.tuned_on)}, and the row is of the other battles "
        "alone."
        for row in board.rows
        if row.tuned_on
    ]
    lines += [
        f"{label}: no row, since it has predicted only folds that the search for its setting has seen. "
        "Run the others."
        for label in board.unscored
    ]
    lines += [" ".join(f"{row.label}: {warning}".split()) for row in board.rows for warning in row.warnings]
    return [line for text in lines for line in (text, "")][:-1]


def difference_cell(difference: Difference | None) -> str:
    """A difference with its interval, or a dash for the reference itself."""
    return DASH if difference is None else str(difference)


def columns(board: Leaderboard) -> dict[str, list[str]]:
    """Every column by its name: one cell a row, a dash where an entry cannot tell."""
    floor = {"above floor": lambda row: _shown(row.above_floor, "+.4f")} if board.floor is not None else {}
    deltas = {
        f"Δ {name} [95 %]": lambda row, name=name: difference_cell(row.differences[name])
        for name in board.references
    }
    cells: dict[str, Callable[[Row], str | None]] = {
        "experiment": lambda row: row.label,
        "encoder": lambda row: row.encoder,
        "folds": lambda row: f"{row.folds}, tuned on the others" if row.tuned_on else row.folds,
        "battles": lambda row: f"{row.battles:,}",
        "log loss ± s.e.": lambda row: f"{row.log_loss:.4f} ± {row.standard_error:.4f}",
        **deltas,
        **floor,
        "accuracy": lambda row: f"{100 * row.accuracy:.1f} %",
        "ECE": lambda row: f"{row.calibration_error:.3f}",
        "swap gap": lambda row: _shown(row.swap_gap, ".4f"),
        "flip rate": lambda row: None if row.flip_rate is None else f"{100 * row.flip_rate:.1f} %",
        "kept P / A / B": lambda row: _kept(row.kept),
        "lost a side": lambda row: _shown(row.lost_a_side, ","),
        "parameters": lambda row: _shown(row.parameters, ","),
        "training s": lambda row: _shown(row.training_seconds, ",.0f"),
        "battles/s": lambda row: _shown(
            row.battles_per_second, ",.3g" if (row.battles_per_second or 0) < 100 else ",.0f"
        ),
        "peak MB": lambda row: _shown(row.peak_memory_mb, ",.0f"),
        "seed": lambda row: _shown(row.seed, "d"),
        "submittable": lambda row: None if row.submittable is None else "yes" if row.submittable else "no",
    }
    return {name: [cell(row) or DASH for row in board.rows] for name, cell in cells.items()}


def _escaped(cell: str) -> str:
    r"""A cell that cannot end before its time, whatever a label holds: no bare `|`, `\` or line break."""
    return " ".join(re.sub(r"([\\|`<])", r"\\\1", cell).split())


def _kept(kept: dict[str, float] | None) -> str | None:
    return None if kept is None else " / ".join(f"{100 * kept[text]:.0f} %" for text in TEXTS)


def _shown(value: float | int | None, form: str) -> str | None:
    return None if value is None else format(value, form)
