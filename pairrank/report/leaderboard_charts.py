"""Charts of the leaderboard: losses, paired differences, and log loss against cost."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.report.charts import BLUE, GREEN, GREY, INK, PURPLE, RED, Chart, label, new_axes, styled
from pairrank.report.marks import Mark, Marks

COSTS = {"training_seconds": "training, all folds (seconds, log scale)", "parameters": "parameters (log scale)"}
"""Attribute of a `Row` -> axis label."""
Cost = Literal["training_seconds", "parameters"]
MAX_NAMED = 12
"""Largest number of points that are all named in a cost chart. Of more, only the Pareto front is named."""
KINDS: dict[str, dict[str, Any]] = {
    "on the Pareto front": {"marker": "o", "color": BLUE},
    "not on the front": {"marker": "x", "color": GREY},
    "diagnostic": {"marker": "P", "color": PURPLE},
}
"""Kind of a point in a cost chart -> how it is drawn."""


@styled
def leaderboard_plot(leaderboard: Leaderboard, most: int | None = None) -> Chart:
    """Draw the log loss of every row, or of the best `most` and the references, the best row on top.

    The lines are 95 % intervals.
    """
    chosen = [row for i, row in enumerate(leaderboard.rows) if _is_drawn(row, i, leaderboard, most)]
    rows, marks = chosen[::-1], Marks()
    figure, [axes] = new_axes(1.2 + 0.19 * len(rows))
    for whole, marker, colour in ((True, "o", BLUE), (False, "D", GREY)):
        places = [i for i, row in enumerate(rows) if (row.battles == leaderboard.battles) == whole]
        if places:
            losses = [rows[i].log_loss for i in places]
            half = [1.96 * rows[i].standard_error for i in places]
            name = "all battles" if whole else "some battles only"
            bars = axes.errorbar(
                losses, places, xerr=half, fmt=marker, color=colour, markersize=4, linewidth=1.2, label=name
            )
            marks.add(bars[0], [_loss_mark(rows[i]) for i in places])
    if leaderboard.floor is not None:
        axes.axvline(leaderboard.floor, color=GREEN, linestyle="--", linewidth=1, label="floor: true probabilities")
    axes.axvline(np.log(3), color=RED, linestyle=":", linewidth=1, label="equal probabilities")
    axes.set(xlabel="log loss (nats, lower is better)")
    _name_rows(axes, [row.label for row in rows], marks)
    figure.legend(loc="outside upper center", ncols=2)
    best = leaderboard.rows[0]
    return Chart(
        "leaderboard-plot" if most is None else "best-plot",
        figure,
        _what_is_drawn(rows, leaderboard)
        + f"Out-of-fold log loss; the best experiment is {best.label} ({best.log_loss:.4f}). The 95 % intervals "
        "account for the sampling of prompts. Two rows whose intervals overlap may still differ significantly, as "
        "both were scored on the same battles: see the paired differences. Rows that cover only some of the "
        "battles can be compared by their differences only.",
        f"Dot plot of {len(rows)} experiments; the best is {best.label} with a log loss of {best.log_loss:.4f}.",
        marks,
    )


def _is_drawn(row: Row, place: int, leaderboard: Leaderboard, most: int | None) -> bool:
    return most is None or place < most or row.label in leaderboard.references


def _what_is_drawn(rows: Sequence[Row], leaderboard: Leaderboard) -> str:
    """Return a sentence about the rows that are not drawn, followed by a space; "" if all are."""
    left = len(leaderboard.rows) - len(rows)
    return f"{len(rows)} of {len(leaderboard.rows)} experiments; the others are below. " if left else ""


def _loss_mark(row: Row) -> Mark:
    half = 1.96 * row.standard_error
    ends = f"[{row.log_loss - half:.4f}, {row.log_loss + half:.4f}]"
    return Mark(f"{row.label}: log loss {row.log_loss:.4f} {ends}", row.label)


@styled
def difference_plot(leaderboard: Leaderboard) -> Chart:
    """Draw every row's paired difference to the first reference with its interval, the best row on top."""
    reference = leaderboard.references[0]
    pairs = [(d, row.label) for row in leaderboard.rows if (d := row.differences[reference]) is not None]
    pairs.sort(key=lambda pair: -pair[0].mean)
    figure, [axes] = new_axes(1.2 + 0.19 * len(pairs))
    half = [[d.mean - d.low for d, _ in pairs], [d.high - d.mean for d, _ in pairs]]
    means = [d.mean for d, _ in pairs]
    bars = axes.errorbar(means, range(len(pairs)), xerr=half, fmt="o", color=BLUE, markersize=4, linewidth=1.2)
    marks = Marks()
    marks.add(bars[0], [Mark(f"{name}: {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]", name) for d, name in pairs])
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=f"log loss minus that of {label(reference, 24)} (nats)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _name_rows(axes, [name for _, name in pairs], marks)
    better = sum(d.high < 0 for d, _ in pairs)
    return Chart(
        "differences",
        figure,
        f"Log loss minus that of {reference}, on the battles that both have predicted; below 0 is better. The 95 % "
        f"intervals are from a paired bootstrap over prompts: {better} of {len(pairs)} lie entirely below 0. If "
        "no experiment differed from the reference, about one of twenty would still look significant.",
        f"Dot plot of paired differences to {reference}; {better} of {len(pairs)} intervals lie entirely below 0.",
        marks,
    )


@styled
def cost_plot(leaderboard: Leaderboard, cost: Cost) -> Chart:
    """Draw log loss against a cost, with the Pareto front of the submittable rows that cover all battles."""
    known = [row for row in leaderboard.rows if (getattr(row, cost) or 0) > 0]
    rows = [row for row in known if row.battles == leaderboard.battles]
    front = pareto([row for row in rows if row.submittable is not False], cost)
    figure, [axes] = new_axes(3.6)
    marks = Marks()
    for kind, style in KINDS.items():
        some = [row for row in rows if kind == _kind(row, front)]
        if some:
            points = [getattr(row, cost) for row in some], [row.log_loss for row in some]
            [drawn] = axes.plot(*points, linestyle="none", markersize=5, label=kind, **style)
            marks.add(drawn, [_cost_mark(row, cost) for row in some])
    if front:
        points = [getattr(row, cost) for row in front], [row.log_loss for row in front]
        axes.step(*points, BLUE, where="post", linewidth=1)
        figure.legend(loc="outside upper center", ncols=3)
    _name_points(axes, rows if len(rows) <= MAX_NAMED else front, cost)
    axes.set(xlabel=COSTS[cost], ylabel="log loss (nats)", xscale="log")
    axes.margins(x=0.2, y=0.15)
    what = {"training_seconds": "training time", "parameters": "the number of parameters"}[cost]
    names = ", ".join(row.label for row in front) or "none"
    return Chart(
        f"cost-{cost.replace('_', '-')}",
        figure,
        f"Log loss against {what}, for rows that cover all battles and whose cost is known. On the Pareto front, "
        f"where no cheaper experiment has a lower loss: {names}. Diagnostics use inputs that test battles lack and "
        "are left out of the front. The cost of an experiment includes the experiments it builds on. Differences "
        "along the front may be smaller than their intervals.",
        f"Scatter plot of log loss against {what}; on the Pareto front: {names}.",
        marks,
    )


def pareto(rows: Sequence[Row], cost: Cost) -> list[Row]:
    """Return the rows for which no other row is at least as cheap and better, the cheapest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (getattr(row, cost), row.log_loss)):
        if not front or row.log_loss < front[-1].log_loss:
            front.append(row)
    return front


def _kind(row: Row, front: Sequence[Row]) -> str:
    """Return the key of `KINDS` for a row."""
    if row.submittable is False:
        return "diagnostic"
    return "on the Pareto front" if row in front else "not on the front"


def _cost_mark(row: Row, cost: Cost) -> Mark:
    unit = {"training_seconds": "s of training", "parameters": "parameters"}[cost]
    return Mark(f"{row.label}: log loss {row.log_loss:.4f}, {getattr(row, cost):,.0f} {unit}", row.label)


def _name_rows(axes: Axes, names: Sequence[str], marks: Marks) -> None:
    """Name the rows of a dot plot on the y axis, from the bottom up."""
    axes.set_yticks(range(len(names)), [label(name, 34) for name in names], fontsize=7)
    marks.add_each(axes.get_yticklabels(), [Mark(name, name) for name in names])
    axes.set(ylabel="experiment", ylim=(-0.7, len(names) - 0.3))


def _name_points(axes: Axes, rows: Sequence[Row], cost: Cost) -> None:
    """Name points of a cost chart, in turn above, below and further below, so that neighbours do not overlap."""
    for i, row in enumerate(sorted(rows, key=lambda row: (getattr(row, cost), row.log_loss))):
        place: dict[str, Any] = {
            "xytext": ((4, 4), (-4, -9), (-4, -18))[i % 3],
            "ha": ("left", "right", "right")[i % 3],
        }
        point = (getattr(row, cost), row.log_loss)
        axes.annotate(label(row.label, 24), point, textcoords="offset points", fontsize=7, **place)
