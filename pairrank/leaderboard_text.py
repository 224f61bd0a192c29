"""The leaderboard as text: Markdown for readers, JSON with every digit, and what must be said under the table."""

import re
from dataclasses import asdict
from pathlib import Path

from pairrank.battles import TEXTS
from pairrank.files import write_json, write_text
from pairrank.leaderboard import Leaderboard, Row
from pairrank.scoring import Difference

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
    columns = ["experiment", "encoder", "folds", "log loss ± s.e."]
    columns += [f"Δ {name} [95 %]" for name in board.references]
    columns += ["accuracy", "ECE"] + (["above floor"] if board.floor is not None else [])
    columns += ["swap gap", "kept P / A / B", "lost a side", "parameters", "training s", "battles/s", "peak MB"]
    columns += ["seed", "submittable"]
    lines = [
        f"# Leaderboard: {_escaped(board.data)}",
        "",
        f"{board.battles:,} battles with {board.prompts:,} distinct prompts. "
        "Out-of-fold log loss in nats, lower is better.",
        "",
        "| " + " | ".join(map(_escaped, columns)) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += ["| " + " | ".join(_cells(row, board)) + " |" for row in board.rows]
    lines += ["", *notes(board)]
    return "\n".join(lines) + "\n"


def notes(board: Leaderboard) -> list[str]:
    """What must be said under the table."""
    lines = [
        "± is the standard error, [ ] the 95 % interval of a paired bootstrap over prompts, on the battles that "
        "both rows have predicted. They cover which battles were drawn, not the seed.",
        "Of twenty differences to one reference, about one looks real by chance.",
    ]
    if board.floor is not None:
        lines.append(
            f"The battles are simulated: the true probabilities score {board.floor:.4f}, "
            "on average the best possible."
        )
    lines += [" ".join(f"{row.label}: {warning}".split()) for row in board.rows for warning in row.warnings]
    return [line for text in lines for line in (text, "")][:-1]


def difference_cell(difference: Difference | None) -> str:
    """A difference with its interval, or a dash for the reference itself."""
    if difference is None:
        return DASH
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _cells(row: Row, board: Leaderboard) -> list[str]:
    kept = None if row.kept is None else " / ".join(f"{100 * row.kept[text]:.0f} %" for text in TEXTS)
    cells = [row.label, row.encoder, row.folds, f"{row.log_loss:.4f} ± {row.standard_error:.4f}"]
    cells += [difference_cell(row.differences[name]) for name in board.references]
    cells += [f"{100 * row.accuracy:.1f} %", f"{row.calibration_error:.3f}"]
    if board.floor is not None:
        cells.append(_shown(row.above_floor, "+.4f"))
    cells += [
        _shown(row.swap_gap, ".4f"),
        kept,
        _shown(row.lost_a_side, ","),
        _shown(row.parameters, ","),
        _shown(row.training_seconds, ",.0f"),
        _shown(row.battles_per_second, ",.3g" if (row.battles_per_second or 0) < 100 else ",.0f"),
        _shown(row.peak_memory_mb, ",.0f"),
        _shown(row.seed, "d"),
        None if row.submittable is None else ("yes" if row.submittable else "no"),
    ]
    return [DASH if cell is None else _escaped(cell) for cell in cells]


def _escaped(cell: str) -> str:
    r"""A cell that cannot end before its time, whatever a label holds: no bare `|`, `\` or line break."""
    return " ".join(re.sub(r"([\\|`<])", r"\\\1", cell).split())


def _shown(value: float | int | None, form: str) -> str | None:
    return None if value is None else format(value, form)
