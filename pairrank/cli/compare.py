"""`compare` shows and writes the leaderboard of all runs on the data."""

from collections.abc import Sequence
from pathlib import Path

from pairrank.cli.console import say, show_board
from pairrank.cli.entries import choose_references, collect_entries
from pairrank.cli.locations import find_source, home_of
from pairrank.errors import UserError
from pairrank.evaluation.entries import publish
from pairrank.evaluation.leaderboard import Leaderboard, build_leaderboard
from pairrank.evaluation.leaderboard_table import to_json, to_markdown
from pairrank.files import read_json


def compare(
    data: Path | None, runs: Path | None, references: Sequence[str], add: Sequence[str], target: Path | None
) -> None:
    """Collect runs, published results and added files, score them, and show and write the leaderboard.

    `target` is the folder of --publish; without it, the leaderboard is written to the folder of the runs.
    """
    source = find_source(data)
    home = home_of(runs, source)
    entries = collect_entries(source, home, target, add)
    named = choose_references(references, [entry.label for entry in entries])
    board = build_leaderboard(source.name, source.train, entries, named, source.truth)
    if target:
        before = read_json(target / "leaderboard.json") or {"data": source.name}
        if before.get("data", source.name) != source.name:
            raise UserError(
                f"--publish {target}: this folder has the leaderboard of {before['data']}. Use another folder."
            )
        publish(target, source.name, entries)
    write_board(board, target or home)
    show_board(board)


def write_board(board: Leaderboard, folder: Path) -> None:
    """Write the leaderboard as Markdown and as JSON."""
    to_markdown(board, folder / "LEADERBOARD.md")
    to_json(board, folder / "leaderboard.json")
    say(f"Written: {folder / 'LEADERBOARD.md'}")
