"""`compare` shows and writes the leaderboard of all runs on the data."""

from collections.abc import Sequence
from pathlib import Path

from pairrank.api import comparison
from pairrank.api.sources import find_source, home_of
from pairrank.cli.console import say, show_board
from pairrank.evaluation.leaderboard import Leaderboard
from pairrank.evaluation.leaderboard_table import to_json, to_markdown


def compare(
    data: Path | None,
    runs: Path | None,
    references: Sequence[str],
    add: Sequence[str],
    target: Path | None,
    history: bool = False,
) -> None:
    """Collect runs, published results and added files, score them, and show and write the leaderboard.

    `target` is the folder of --publish; without it, the leaderboard is written to the folder of the runs. With
    `history`, the former results of the runs are shown as well, and nothing is written.
    """
    source = find_source(data)
    home = home_of(runs, source)
    board = comparison.compare(
        None, source, runs=home, reference=references, add=add, publish_to=target, history=history
    )
    show_board(board)
    if target:
        say(f"Written: {target / 'LEADERBOARD.md'}")
    elif not history:
        try_to_write_board(board, home)


def try_to_write_board(board: Leaderboard, folder: Path) -> None:
    """Write the leaderboard that was shown into the folder of its runs, which may be read-only."""
    try:
        write_board(board, folder)
    except OSError as error:
        say(f"{folder}: the leaderboard could not be written here ({error.strerror}).")


def write_board(board: Leaderboard, folder: Path) -> None:
    """Write the leaderboard as Markdown and as JSON."""
    to_markdown(board, folder / "LEADERBOARD.md")
    to_json(board, folder / "leaderboard.json")
    say(f"Written: {folder / 'LEADERBOARD.md'}")
