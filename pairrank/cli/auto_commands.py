"""The command `auto`: its arguments, the plan as a table, and what it has found."""

import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pairrank.cli.options import Data, Runs, examples

if TYPE_CHECKING:  # help texts must not load numpy or torch
    from pairrank.api.automation.plan import Decision

commands = typer.Typer()


class PresetOption(StrEnum):
    """The values of `--preset`."""

    quick = "quick"
    good = "good"
    best = "best"


@commands.command(
    epilog=examples("auto", "auto --data ../my-battles --minutes 60 --preset best", "auto --minutes 5 --dry-run")
)
def auto(
    data: Data = None,
    minutes: Annotated[float, typer.Option(help="Time for everything, from reading to the submission.")] = 20,
    preset: Annotated[
        PresetOption,
        typer.Option(
            help="quick: counted features only. good: also stacks and frozen encoders. best: also fine-tuned ones."
        ),
    ] = PresetOption.good,
    runs: Runs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the data, show the plan, and stop.")] = False,
) -> None:
    """Train what fits the time, and write report and submission.

    The data are checked, and what fits the time on this machine is planned and trained: from the prior over counted
    features to encoders. The results are pooled without fitting a weight. Leaderboard, report, model cards and a
    submission are written into the folder of the runs. The same command continues after a crash.
    """
    from pairrank.api.auto import auto as work
    from pairrank.cli.console import say, show_board
    from pairrank.cli.messages import messages_to, print_message

    with messages_to(print_message, only=is_news):
        result = work(
            data,
            minutes=minutes,
            preset=preset.value,
            runs=runs,
            dry_run=dry_run,
            show_plan=lambda plan: _show_plan(plan, minutes),
        )
    if result.board is None:
        say("Nothing was trained or written (--dry-run).")
        return
    show_board(result.board)
    written = (result.runs / "LEADERBOARD.md", result.report, result.model_card, result.submission)
    say(f"Written: {', '.join(str(file) for file in written if file)}")
    say(" ".join(result.summary))
    say(f"{result.seconds:.0f} s of {60 * minutes:.0f} s.")


def is_news(record: logging.LogRecord) -> bool:
    """Return whether a message is shown: the steps of single folds and the files of single functions are not."""
    own = record.name.startswith("pairrank.api.auto")
    return own or (record.levelno >= logging.WARNING and not record.name.startswith("pairrank.runs"))


def _show_plan(plan: "Sequence[Decision]", minutes: float) -> None:
    from pairrank.cli.console import show_table

    rows = [(each.name, _expected(each), each.status, each.why) for each in plan]
    title = f"Plan for {minutes:g} minutes"
    show_table(title, ["experiment", "expected", "decision", "why"], rows, whole=["experiment", "expected"])


def _expected(decision: "Decision") -> str:
    return "–" if decision.status in ("finished", "unavailable") else f"{decision.seconds:.0f} s"
