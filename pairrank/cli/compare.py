"""`compare` shows and writes the leaderboard of all runs on the data."""

from collections.abc import Sequence
from pathlib import Path

from pairrank.cli.console import say, show_board
from pairrank.cli.entries import choose_references, collect_entries, without_subsets
from pairrank.cli.locations import find_source, home_of
from pairrank.errors import UserError
from pairrank.evaluation.entries import former_entries, publish
from pairrank.evaluation.leaderboard import Leaderboard, build_leaderboard
from pairrank.evaluation.leaderboard_table import to_json, to_markdown
from pairrank.files import read_json
from pairrank.runs.former import former_runs


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
    entries = without_subsets(collect_entries(source, home, target, add), references)
    if history:
        entries += former_entries(former_runs(home), source.train)
    named = choose_references(references, [entry.label for entry in entries])
    board = build_leaderboard(source.name, source.train, entries, named, source.truth)
    if target:
        before = read_json(target / "leaderboard.json") or {"data": source.name}
        if before.get("data", source.name) != source.name:
            raise UserError(
                f"--publish {target}: this folder has the leaderboard of {before['data']}. Use another folder."
            )
        publish(target, source.name, entries)
    show_board(board)
    if target:
        write_board(board, target)
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
