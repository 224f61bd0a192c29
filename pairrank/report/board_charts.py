"""The leaderboard as pictures: losses, paired differences, and what each row cost."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.report.charts import BLUE, GREEN, GREY, INK, PURPLE, RED, Chart, label, new_axes, styled

COSTS = {"training_seconds": "training, all folds (seconds, log scale)", "parameters": "parameters (log scale)"}
Cost = Literal["training_seconds", "parameters"]
MOST_NAMED = 12
"""Points of a picture that are all named; of more, those on the front."""


@styled
def leaderboard_plot(board: Leaderboard) -> Chart:
    """Every row's log loss with its interval, the best on top."""
    rows = board.rows[::-1]
    figure, [axes] = new_axes(1.2 + 0.19 * len(rows))
    for whole, marker, colour in ((True, "o", BLUE), (False, "D", GREY)):
        places = [i for i, row in enumerate(rows) if (row.battles == board.battles) == whole]
        if places:
            losses = [rows[i].log_loss for i in places]
            reach = [1.96 * rows[i].standard_error for i in places]
            name = "all battles" if whole else "some battles only"
            axes.errorbar(
                losses, places, xerr=reach, fmt=marker, color=colour, markersize=4, linewidth=1.2, label=name
            )
    axes.set_yticks(range(len(rows)), [label(row.label, 28) for row in rows], fontsize=7)
    if board.floor is not None:
        axes.axvline(board.floor, color=GREEN, linestyle="--", linewidth=1, label="true probabilities")
    axes.axvline(np.log(3), color=RED, linestyle=":", linewidth=1, label="one third each")
    axes.set(xlabel="log loss (nats, lower is better)", ylabel="experiment", ylim=(-0.7, len(rows) - 0.3))
    figure.legend(loc="outside upper center", ncols=2)
    best = board.rows[0]
    return Chart(
        "leaderboard-plot",
        figure,
        "Out-of-fold log loss with its 95 % interval, which covers which prompts were drawn. Intervals of two rows "
        "may overlap and their difference still be sure, since both saw the same battles: the table's paired "
        "differences tell. Rows of some battles only have met others, and compare by their differences alone.",
        f"Dot plot of {len(rows)} experiments; the best is {best.label} with a log loss of {best.log_loss:.4f}.",
    )


@styled
def difference_plot(board: Leaderboard) -> Chart:
    """Every row's paired difference to the first reference with its interval, the best on top."""
    reference = board.references[0]
    told = [(d, row.label) for row in board.rows if (d := row.differences[reference]) is not None]
    told.sort(key=lambda each: -each[0].mean)
    figure, [axes] = new_axes(1.2 + 0.19 * len(told))
    reach = [[d.mean - d.low for d, _ in told], [d.high - d.mean for d, _ in told]]
    places = range(len(told))
    axes.errorbar([d.mean for d, _ in told], places, xerr=reach, fmt="o", color=BLUE, markersize=4, linewidth=1.2)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [label(name, 28) for _, name in told], fontsize=7)
    than = f"log loss less that of {label(reference, 24)} (nats)"
    axes.set(xlabel=than, ylabel="experiment", ylim=(-0.7, len(told) - 0.3))
    better = sum(d.high < 0 for d, _ in told)
    return Chart(
        "differences",
        figure,
        f"Log loss less that of {reference} on the battles that both have predicted, with the 95 % interval of a "
        f"paired bootstrap over prompts: {better} of {len(told)} lie wholly below 0. Of twenty differences, about "
        "one looks real by chance.",
        f"Dot plot of paired differences to {reference}; of {better} of {len(told)} the interval lies below 0.",
    )


@styled
def cost_plot(board: Leaderboard, cost: Cost) -> Chart:
    """Log loss against what it cost, with the rows that nothing cheaper beats."""
    rows = [row for row in board.rows if row.battles == board.battles and (getattr(row, cost) or 0) > 0]
    front = pareto([row for row in rows if row.submittable is not False], cost)
    figure, [axes] = new_axes(3.6)
    kinds: dict[str, dict[str, Any]] = {
        "nothing cheaper is better": {"marker": "o", "color": BLUE},
        "dearer and no better": {"marker": "x", "color": GREY},
        "diagnostic": {"marker": "P", "color": PURPLE},
    }
    for kind, style in kinds.items():
        some = [row for row in rows if kind == _kind(row, front)]
        if some:
            points = [getattr(row, cost) for row in some], [row.log_loss for row in some]
            axes.plot(*points, linestyle="none", markersize=5, label=kind, **style)
    if front:
        axes.step(
            [getattr(row, cost) for row in front], [row.log_loss for row in front], BLUE, where="post", linewidth=1
        )
        figure.legend(loc="outside upper center", ncols=3)
    named = rows if len(rows) <= MOST_NAMED else front
    for i, row in enumerate(sorted(named, key=lambda row: (getattr(row, cost), row.log_loss))):
        # By turns above, below and further below, so that neighbours do not overprint each other.
        place: dict[str, Any] = {
            "xytext": ((4, 4), (-4, -9), (-4, -18))[i % 3],
            "ha": ("left", "right", "right")[i % 3],
        }
        at = (getattr(row, cost), row.log_loss)
        axes.annotate(label(row.label, 24), at, textcoords="offset points", fontsize=7, **place)
    axes.set(xlabel=COSTS[cost], ylabel="log loss (nats)", xscale="log")
    axes.margins(x=0.2, y=0.15)
    what = COSTS[cost].split(" (")[0].split(",")[0]
    names = ", ".join(row.label for row in front) or "nobody"
    return Chart(
        f"cost-{cost.replace('_', '-')}",
        figure,
        f"Log loss against {what}, of rows that cover all battles and tell their cost. On the front, where nothing "
        f"cheaper is better: {names}. Diagnostics, which read what test battles lack, are on no front. What an "
        "experiment builds on is part of its price; differences on the front may be smaller than their intervals.",
        f"Scatter plot of log loss against {what}; on the Pareto front are {names}.",
    )


def _kind(row: Row, front: Sequence[Row]) -> str:
    """What a point stands for."""
    if row.submittable is False:
        return "diagnostic"
    return "nothing cheaper is better" if row in front else "dearer and no better"


def pareto(rows: Sequence[Row], cost: Cost) -> list[Row]:
    """Rows that none is both cheaper (or as cheap) and better than, the cheapest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (getattr(row, cost), row.log_loss)):
        if not front or row.log_loss < front[-1].log_loss:
            front.append(row)
    return front
