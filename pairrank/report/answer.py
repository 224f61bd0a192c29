"""The answer of a report in three sentences: who leads, who is tied with it, and what both cost."""

from collections.abc import Sequence

from pairrank.errors import first_names
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.report.leaderboard_charts import leaderboard_plot
from pairrank.report.page import Section, Text
from pairrank.report.scored_runs import Results

MAX_TIED = 4
"""Tied rows that are named; of more, the number is given."""
MAX_DRAWN = 14
"""Best rows in the first chart of the page, so that it fits on a screen."""


def answer_section(results: Results) -> Section:
    """Return the first section of a report: the answer, the best rows as a dot plot, and the facts."""
    board = results.leaderboard
    sentences = [leader_sentence(board), tied_sentence(board), cost_sentence(board)]
    facts = {
        "Data": f"{board.data}, {board.battles:,} battles, {board.prompts:,} distinct prompts",
        **results.facts,
    }
    return Section(
        "The answer",
        [
            *(Text(sentence) for sentence in sentences if sentence),
            Text(". ".join(f"{name}: {value}" for name, value in facts.items() if value) + "."),
            leaderboard_plot(board, MAX_DRAWN),
        ],
        is_lead=True,
    )


def leader_sentence(board: Leaderboard) -> str:
    """Return a sentence about the leading row: its log loss, its rank interval and its skill."""
    first = _leader(board)
    text = f"{first.label} leads with a log loss of {first.log_loss:.4f} ± {first.standard_error:.4f}"
    ranked = sum(row.rank is not None for row in board.rows)
    if first.rank_interval and ranked > 1:
        low, high = first.rank_interval
        interval = f"{low}" if low == high else f"{low}–{high}"
        text += f"; its rank is {interval} of {ranked} (95 %)"
    if first.skill is not None:
        target = "the best row" if board.floor is None else "the floor"
        text += f", its skill {100 * first.skill:.0f} % of the way from the prior to {target}"
    return text + _difference(board, first) + "." + _diagnostics(board, first)


def tied_sentence(board: Leaderboard) -> str:
    """Return a sentence about the rows that cannot be told apart from the leading one.

    It is "" if there is one row, if the rows have no ranks, or if a diagnostic is significantly better.
    """
    if len(board.rows) < 2 or _leader(board).rank != 1:
        return ""
    tied = [row.label for row in _tied(board)]
    if not tied:
        return (
            "No other row that can predict test battles is tied with it: it is significantly better than each of "
            "the same battles."
        )
    names = first_names(tied, MAX_TIED)
    rows, are = ("row", "is") if len(tied) == 1 else ("rows", "are")
    return f"{len(tied)} other {rows} {are} tied with it, so these battles do not tell which is the best: {names}."


def cost_sentence(board: Leaderboard) -> str:
    """Return a sentence about the cost of the leading row and of the cheapest row that is tied with it."""
    first = _leader(board)
    if first.training_seconds is None:
        return f"What {first.label} costs is not known."
    own = f"{first.label} needs {_cost(first)}"
    cheaper = [
        row
        for row in _tied(board)
        if row.training_seconds is not None and row.training_seconds < first.training_seconds
    ]
    if not cheaper:
        return f"{own}; no tied row is known to need less time." if _tied(board) else f"{own}."
    cheapest = min(cheaper, key=lambda row: (row.training_seconds or 0.0, row.log_loss))
    return f"{own}; the cheapest tied row, {cheapest.label} ({cheapest.log_loss:.4f}), needs {_cost(cheapest)}."


def _leader(board: Leaderboard) -> Row:
    """Return the best row that can predict test battles, or the best one if there is none."""
    return next((row for row in board.rows if row.submittable is not False), board.rows[0])


def _tied(board: Leaderboard) -> Sequence[Row]:
    """Return the other rows, no diagnostics, whose rank may be 1, if that of the leading row may be."""
    leader = _leader(board)
    others = [row for row in board.rows if row is not leader and row.submittable is not False]
    return [row for row in others if row.rank == 1] if leader.rank == 1 else []


def _difference(board: Leaderboard, first: Row) -> str:
    """Return the difference to the first reference as the end of a sentence; "" for the reference itself."""
    reference = board.references[0]
    found = first.differences.get(reference)
    if found is None:
        return ""
    return f"; it differs from {reference} by {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _diagnostics(board: Leaderboard, leader: Row) -> str:
    """Return sentences about the diagnostics above the leading row, or about itself if it is one; "" for none."""
    if leader.submittable is False:
        return " It is a diagnostic: it uses columns that test battles lack."
    above = [f"{row.label} ({row.log_loss:.4f})" for row in board.rows[: board.rows.index(leader)]]
    if not above:
        return ""
    verb = "scores lower but is a diagnostic" if len(above) == 1 else "score lower but are diagnostics"
    uses = "it uses" if len(above) == 1 else "they use"
    return f" {first_names(above, MAX_TIED)} {verb}: {uses} columns that test battles lack."


def _cost(row: Row) -> str:
    memory = f" and {row.peak_memory_mb:,.0f} MB of memory" if row.peak_memory_mb is not None else ""
    return f"{row.training_seconds or 0.0:,.0f} s of training{memory}"
