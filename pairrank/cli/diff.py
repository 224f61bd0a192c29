"""`diff` shows what changed between two runs, in lines that fit a terminal of 80 columns."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from pairrank.api import difference as api
from pairrank.cli.console import say, show_table, text_width
from pairrank.errors import escape_control
from pairrank.evaluation.run_difference import RunDifference
from pairrank.report.cards import text_excerpt
from pairrank.report.charts import OUTCOMES
from pairrank.report.difference_page import predictions_at, score_table, settings_note, slice_table, summary

SHOWN = 5
"""Battles that are shown for a gain, and for a loss."""

LONGEST_SETTING = 300
"""Characters of a setting that are shown; the page has all of them."""


def diff(
    names: Sequence[str],
    data: Path | None,
    runs: Path | None,
    before: bool,
    add: Sequence[str],
    published: Path | None,
    out: Path | None,
) -> None:
    """Compare two runs, or a run with its former result, show the difference, and write a page with `out`."""
    first, second = names[0], names[1] if len(names) > 1 else None
    found = api.diff(first, second, data, before=before, runs=runs, add=add, published=published, out=out)
    show_difference(found)
    if out:
        say(f"Written: {out}")


def show_difference(found: RunDifference) -> None:
    """Print the scores, the settings that differ, the slices, and the battles gained and lost."""
    labels = found.first.label, found.second.label
    say(f"First: {labels[0]}. Second: {labels[1]}.")
    say(f"Both have predicted {len(found.battles):,} battles of {found.data}.")
    _say_wrapped(summary(found))
    scores = score_table(found)
    show_table("Scores", ["score", "first", "second", "change [95 %]"], scores.rows, whole=["change [95 %]"])
    _show_settings(found)
    if found.slices:
        slices = slice_table(found.slices)
        show_table("Change on slices, second - first", list(slices.columns), slices.rows, whole=slices.columns[1:])
    for title, chosen in (("gained", found.gained(SHOWN)), ("lost", found.lost(SHOWN))):
        if chosen:
            say(f"\nBattles {title}, the largest change first (probabilities of A / B / tie)")
        for row in chosen:
            _show_battle(found, row)


def _show_settings(found: RunDifference) -> None:
    if note := settings_note(found):
        _say_wrapped(note)
    rows = [
        [each.key, each.first[:LONGEST_SETTING], each.second[:LONGEST_SETTING]] for each in found.settings or ()
    ]
    if rows:
        show_table("Settings and provenance that differ", ["key", "first", "second"], rows)


def _show_battle(found: RunDifference, row: int) -> None:
    """Print a battle: id, outcome, both predictions, and the beginnings of its texts."""
    battles = found.battles
    outcome = list(OUTCOMES)[int(battles.labels[row])]
    shown = [
        f"{'/'.join(f'{p:.2f}' for p in each.proba)} (loss {each.loss:.2f})" for each in predictions_at(found, row)
    ]
    say(f"- id {battles.id[row]}, {outcome}")
    _say_cut(f"    {' → '.join(shown)}")
    for name, turns in (("prompt", battles.prompt), ("A", battles.response_a), ("B", battles.response_b)):
        _say_cut(f"    {name}: {text_excerpt(turns[row][0])}")


def _say_cut(line: str) -> None:
    """Print one line, cut to the width of running text."""
    text = Text(escape_control(line))
    text.truncate(text_width(), overflow="ellipsis")
    say(text.plain)


def _say_wrapped(paragraph: str) -> None:
    """Print a paragraph; the terminal wraps it between words."""
    from textwrap import wrap

    for line in wrap(escape_control(paragraph), text_width()):
        say(line)
