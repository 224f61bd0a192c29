"""Three sentences: what was found, what was submitted, and what more minutes would be used for."""

from collections.abc import Sequence
from math import ceil
from typing import get_args

from pairrank.api.automation.plan import Decision, Preset, names_of
from pairrank.api.automation.pool import POOL, listed
from pairrank.errors import first_names, shorten
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.progress import in_words

NAMED = 4
"""Number of rows that are named as tied."""


def found(board: Leaderboard) -> str:
    """Return the sentence about the best row and those that are tied with it."""
    best = board.rows[0]
    names = [shorten(label) for label in board.tied_with_best if label != best.label]
    tied = f" {first_names(names, NAMED)} cannot be told apart from it" if names else ""
    return (
        f"Of {len(board.rows)} rows on {board.battles:,} battles, {shorten(best.label)} has the lowest log loss, "
        f"{best.log_loss:.4f}{_gain(best)}{';' if tied else ''}{tied}."
    )


def _gain(best: Row) -> str:
    """Return the difference to the prior, and whether it may be chance."""
    difference = best.differences.get("prior")
    if difference is None:
        return (
            ": no experiment is better than the prior, which ignores the answers" if best.label == "prior" else ""
        )
    chance = "" if difference.high < 0 else ", which may be chance"
    return f" (difference to the prior {difference}{chance})"


def submitted(board: Leaderboard, label: str, members: Sequence[str], has_submission: bool) -> str:
    """Return the sentence about the experiment to use, which was chosen without looking at a score."""
    what = f"The submission is that of {label}" if has_submission else f"Use {label} for predictions"
    why = "the last experiment of the plan that is finished"
    if label == POOL:
        why = f"a mean of {listed(members)} with weights that no score of these battles has chosen"
    better = [each.better for each in board.pairs if each.worse == label and each.is_significant]
    hint = f" ({shorten(better[0])} is significantly better here: `submit` it instead)" if better else ""
    return f"{what}, {why}{hint}."


def more_minutes(plan: Sequence[Decision], preset: Preset, reserve: float) -> str:
    """Return the sentence about what was left out, and the time that it would need."""
    left_out = [each for each in plan if each.status == "left out"]
    if not left_out:
        return _everything_fits(plan, preset)
    listed = ", ".join(f"{each.name} ({in_words(each.seconds)})" for each in left_out)
    first, every = (_minutes(each, reserve) for each in (left_out[:1], left_out))
    times = f"--minutes {first}" if first == every else f"--minutes {first} for the first, {every} for all"
    return (
        f"With more minutes, the same command would also train {listed}, in this order. It needs {times}, and "
        "continues from here. What these experiments would gain on these battles was not measured."
    )


def _minutes(left_out: Sequence[Decision], reserve: float) -> int:
    """Return the whole minutes that these experiments need, with what follows them."""
    return ceil((1.3 * sum(each.seconds for each in left_out) + reserve) / 60)


def _everything_fits(plan: Sequence[Decision], preset: Preset) -> str:
    presets = get_args(Preset)
    later = presets[presets.index(preset) + 1 :]
    gone = [each.name for each in plan if each.status == "unavailable"]
    missing = f" {', '.join(gone)} could not be run here." if gone else ""
    if not later:
        return f"More minutes would change nothing: everything of the largest preset was tried.{missing}"
    new = [name for name in names_of(later[0]) if name not in [each.name for each in plan]]
    return (
        f"More minutes alone would change nothing, since nothing of the preset {preset} was left out; "
        f"--preset {later[0]} would add {', '.join(new)}, and what they would "
        f"gain on these battles was not measured.{missing}"
    )
