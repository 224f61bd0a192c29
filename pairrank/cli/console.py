"""Output: plain lines, tables that fit the terminal, and no control characters from the text of a battle."""

import os
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pairrank import distributed
from pairrank.errors import escape_control, shorten
from pairrank.evaluation.leaderboard import Leaderboard
from pairrank.evaluation.leaderboard_table import columns, notes, seed_columns
from pairrank.progress import above_progress

WIDE = 400
"""Characters per line if the output is not a terminal, such as a file or another program."""

SHORTEST_LABEL = 20
"""Width in characters to which the labels of a leaderboard may be wrapped."""

MARKS = {"declared": " †", "undeclared": " ‡"}
"""Marks of entries that were made elsewhere, by whether they declare their training data."""

SHOWN_REPAIRS = 10
"""Number of repairs of a file that are printed."""

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)


def say(text: str) -> None:
    """Print one line, shortened and without control characters, in the first process only.

    The line may contain text of battles, so nothing in it is interpreted as markup.
    """
    if distributed.rank():
        return
    with above_progress():
        console.print(shorten(escape_control(text)), markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print one line to standard error, shortened and without control characters."""
    with above_progress():
        errors.print(shorten(escape_control(text)), markup=False, soft_wrap=True)


def show_repairs(repairs: Sequence[str], before: int = 0) -> None:
    """Print the first repairs of a file; `before` is the number of repairs in its earlier parts."""
    for repair in repairs[: max(0, SHOWN_REPAIRS - before)]:
        warn(f"Repaired: {repair}")
    if before <= SHOWN_REPAIRS < before + len(repairs):
        warn("… and more")


def show_count(text: str) -> None:
    """Show progress in one line that is overwritten, on a terminal only."""
    if errors.is_terminal:
        errors.print(text, end="\r")


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], whole: Sequence[str] = ()
) -> None:
    """Print a table of plain text, in which the columns `whole` are never wrapped or cut."""
    table = Table()
    for name in columns:
        table.add_column(Text(escape_control(name)), no_wrap=name in whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape_control(cell)) for cell in row))
    # A separate console, because that of `say` cuts a table to 80 characters if there is no terminal.
    wide = Console(width=_width(), highlight=False, emoji=False)
    # Printed separately, because the title of a table is wrapped to the width of the table.
    wide.print(Text(escape_control(title), style="italic"))
    wide.print(table)


def show_board(board: Leaderboard) -> None:
    """Print the columns of the leaderboard that fit, the most important first; the files have all of them."""
    table = columns(board)
    marks = [MARKS.get(row.training_data or "", "") for row in board.rows]
    table["experiment"] = [label + mark for label, mark in zip(table["experiment"], marks, strict=True)]
    deltas = [name for name in table if name.startswith("Δ")]
    first = [
        "experiment",
        "rank",
        "log loss ± s.e.",
        "above floor",
        *deltas,
        "skill",
        "folds",
        "battles",
        "accuracy",
    ]
    ordered = [name for name in dict.fromkeys([*first, *table]) if name in table]
    widths = {name: max(map(cell_len, [name, *table[name]])) + 3 for name in ordered}
    room = _width() - 1
    # Long labels are wrapped before the score or the first difference is left out.
    needed = sum(widths[name] for name in ("rank", "log loss ± s.e.", *deltas[:1]))
    widths["experiment"] = min(widths["experiment"], max(SHORTEST_LABEL, room - needed))
    shown: list[str] = []
    for name in ordered:
        room -= widths[name]
        if room >= 0 or len(shown) < 3:
            shown.append(name)
    rows = list(zip(*(table[name] for name in shown), strict=True))
    names = [name.removesuffix(" ± s.e.") for name in shown]
    show_table(f"Leaderboard: {board.data}", names, rows, whole=names[1:])
    if len(shown) < len(table):
        left_out = ", ".join(name for name in table if name not in shown)
        say(f"Columns that do not fit here, but are in LEADERBOARD.md: {left_out}.")
    if any(marks):
        say("† made elsewhere, training data declared; ‡ made elsewhere, training data undeclared.")
    for line in filter(None, notes(board)):
        say(line)
    say("To see what a column means: pairrank explain COLUMN")
    if board.seeds:
        seeds = seed_columns(board)
        show_table("Seeds", list(seeds), list(zip(*seeds.values(), strict=True)), whole=list(seeds)[2:])


def text_width() -> int:
    """Return the characters per line of running text, at most 80."""
    return min(80, _width())


def _width() -> int:
    return console.width if console.is_terminal or "COLUMNS" in os.environ else WIDE
