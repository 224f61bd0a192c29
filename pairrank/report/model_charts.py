"""How the models did: the table as a picture, their cost, how they learned, what they know and where they err."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pairrank.leaderboard import Leaderboard, Row
from pairrank.report.charts import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    INK,
    MARKERS,
    PURPLE,
    RED,
    Chart,
    heat_map,
    label,
    new_axes,
    styled,
)
from pairrank.report.judged import Judged, gap
from pairrank.scoring import confusion, reliability, wilson
from pairrank.slices import SliceScore

MOST_NAMED = 12
"""Points of a picture that are all named; of more, those on the front."""
LARGE = 50
"""Battles of a slice that a caption may single out."""
COSTS = {"training_seconds": "training, all folds (seconds, log scale)", "parameters": "parameters (log scale)"}
Cost = Literal["training_seconds", "parameters"]
SHORT = {"A wins": "A", "B wins": "B", "tie": "tie"}


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
    rows = [row for row in board.rows if row.differences[reference] is not None]
    rows = sorted(rows, key=lambda row: -row.differences[reference].mean)  # type: ignore[union-attr]
    found = [row.differences[reference] for row in rows]
    means = [d.mean for d in found if d]
    reach = [[d.mean - d.low for d in found if d], [d.high - d.mean for d in found if d]]
    figure, [axes] = new_axes(1.2 + 0.19 * len(rows))
    axes.errorbar(means, range(len(rows)), xerr=reach, fmt="o", color=BLUE, markersize=4, linewidth=1.2)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [label(row.label, 28) for row in rows], fontsize=7)
    name = label(reference, 24)
    axes.set(xlabel=f"log loss less that of {name} (nats)", ylabel="experiment", ylim=(-0.7, len(rows) - 0.3))
    better = sum(d.high < 0 for d in found if d)
    return Chart(
        "differences",
        figure,
        f"Log loss less that of {reference} on the battles that both have predicted, with the 95 % interval of a "
        f"paired bootstrap over prompts: {better} of {len(rows)} lie wholly below 0. Of twenty differences, about "
        "one looks real by chance.",
        f"Dot plot of paired differences to {reference}; {better} of {len(rows)} are surely better.",
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


@styled
def learning_curves(run: str, name: str, history: Sequence[Mapping[str, Any]]) -> Chart:
    """Training and validation loss, accuracy and log loss against steps, a line a fold."""
    figure, [loss, metric] = new_axes(4.6, rows=2)
    folds = sorted({row["Fold"] for row in history})
    for fold in folds:
        of_fold = [row for row in history if row["Fold"] == fold]
        steps = [row["Step"] for row in of_fold]
        for axes, column, style, colour in (
            (loss, "Training Loss", "--", GREY),
            (loss, "Validation Loss", "-", BLUE),
            (metric, "Accuracy", "--", GREEN),
            (metric, "Log Loss", "-", BLUE),
        ):
            values = [row[column] if _known(row[column]) else np.nan for row in of_fold]
            marker = MARKERS[folds.index(fold) % len(MARKERS)]
            once = column.lower() if fold == folds[0] else None
            axes.plot(steps, values, style, color=colour, marker=marker, markersize=4, linewidth=1, label=once)
    loss.set(xlabel="step (optimiser updates)", ylabel="loss (nats)")
    metric.set(xlabel="step (optimiser updates)", ylabel="nats, or share right")
    for axes in (loss, metric):
        axes.legend(ncols=2)
    held = [row for row in history if _known(row["Log Loss"])]
    best = min(held, key=lambda row: row["Log Loss"]) if held else None
    told = "no training prompts were held out"
    if best:
        place = f"step {best['Step']:.0f} of fold {best['Fold']:.0f}"
        told = f"the best held-out log loss was {best['Log Loss']:.4f}, at {place}"
    return Chart(
        f"{name}-curves",
        figure,
        f"{run}: training and validation loss, then accuracy and log loss on held-out training prompts, a marker a "
        f"fold; {told}. A validation loss that rises while the training loss falls is learning by heart.",
        f"Learning curves of {run}: {told}.",
    )


def _known(value: float | None) -> bool:
    """Whether a step was measured, and had not diverged."""
    return value is not None and bool(np.isfinite(value))


@styled
def reliability_plot(name: str, judged: Sequence[Judged], title: str) -> Chart:
    """Said probabilities against how often they came true, of one or several runs."""
    figure, [axes, below] = new_axes(5.0, rows=2, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    told = []
    end = 0.0
    for run, colour, marker in zip(judged, CYCLE, MARKERS, strict=False):
        bins = reliability(run.proba, run.winner)
        said, came = [b.said for b in bins], [b.came for b in bins]
        axes.plot(said, came, color=colour, marker=marker, markersize=5, linewidth=1.2, label=label(run.label))
        if len(judged) == 1:
            counts = np.array([b.count for b in bins])
            low, high = wilson(np.array(came) * counts, counts)
            axes.vlines(said, low, high, color=colour, linewidth=1)
        below.plot(said, [b.count for b in bins], color=colour, marker=marker, markersize=4, linewidth=1)
        told.append(f"{run.label} {gap(run):.3f}")
        end = max(end, *said, *came)
    axes.set(ylabel="share that came true", xlim=(0, end + 0.05), ylim=(0, end + 0.05))
    axes.legend()
    below.set(xlabel="said probability of an outcome", ylabel="outcomes a bin", ylim=(0, None))
    return Chart(
        f"{name}-reliability",
        figure,
        f"{title}. Each point is a bin of outcomes given about the same probability (their number below). On the "
        "dotted line, what was given 30 % came true 30 % of the time; flatter than it is over-confident, steeper "
        f"is under-confident. Mean distance from it, over all outcomes: {', '.join(told)}."
        + (" Bars are Wilson's 95 % intervals." if len(judged) == 1 else ""),
        f"Reliability diagram; mean distance from the diagonal: {', '.join(told)}.",
    )


@styled
def confusion_plot(name: str, run: Judged) -> Chart:
    """What was most probable against what came."""
    table = confusion(run.proba, run.winner)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, [axes] = new_axes(3.4)
    cells = [f"{count:,}\n{part:.0%}" for count, part in zip(table.ravel(), share.ravel(), strict=True)]
    heat_map(axes, share, list(SHORT.values()), cells, size=8)
    axes.set(xlabel="most probable outcome, as predicted", ylabel="outcome of the vote")
    right = int(np.trace(table))
    told = f"{right:,} of {int(table.sum()):,} right ({right / table.sum():.1%})"
    said, came = int(table[:, 2].sum()), int(table[2].sum())
    ties = f"a tie was the most probable outcome of {said:,} battles, and the vote of {came:,}"
    return Chart(
        f"{name}-confusion",
        figure,
        f"{run.label}: battles by vote (row) and most probable outcome (column), with the share of the row: "
        f"{told}; {ties}.",
        f"Confusion matrix of {run.label}: {told}; {ties}.",
    )


@styled
def slice_plot(name: str, run: str, scores: Sequence[SliceScore], overall: float) -> Chart:
    """Log loss on each slice with its interval."""
    ranked = scores[::-1]
    figure, [axes] = new_axes(1.0 + 0.185 * len(ranked))
    places = range(len(ranked))
    kinds = list(dict.fromkeys(score.by for score in scores))
    for place, score in zip(places, ranked, strict=True):
        mean = score.log_loss
        colour = CYCLE[kinds.index(score.by) % 2]
        reach = mean.high - mean.mean if np.isfinite(mean.high) else 0.0  # of one prompt nothing is known
        axes.errorbar(mean.mean, place, xerr=reach, fmt="o", color=colour, markersize=4, linewidth=1.2)
    axes.axvline(overall, color=INK, linestyle="--", linewidth=0.8)
    names = [f"{score.by}: {label(score.name, 30)} ({score.log_loss.battles:,})" for score in ranked]
    axes.set_yticks(places, names, fontsize=7)
    axes.set(xlabel="log loss (nats)", ylabel="slice (battles)", ylim=(-0.7, len(ranked) - 0.3))
    enough = min(LARGE, max(score.log_loss.battles for score in scores))
    large = [score for score in scores if score.log_loss.battles >= enough]
    hard, easy = (pick(large, key=lambda s: s.log_loss.mean) for pick in (max, min))
    told = (
        f"hardest is {hard.by}: {hard.name} ({hard.log_loss.mean:.3f}), "
        f"easiest {easy.by}: {easy.name} ({easy.log_loss.mean:.3f})"
    )
    return Chart(
        f"{name}-slices",
        figure,
        f"{run}: log loss on battles that are alike in one way, with 95 % intervals over prompts and the number of "
        "battles; dashed, all of them. Colours alternate between kinds of slices. Of those with "
        f"{enough} battles or more, {told}. A slice may be hard because voters disagree there, and of twenty "
        "slices one stands out by chance.",
        f"Dot plot of {len(scores)} slices of {run}; {told}.",
    )


@styled
def agreement_map(judged: Sequence[Judged]) -> Chart:
    """How often two runs hold the same outcome for the most probable."""
    names = [label(run.label, 22) for run in judged]
    shares = np.array([[agreement(a, b) for b in judged] for a in judged])
    figure, [axes] = new_axes(1.6 + 0.25 * len(judged))
    heat_map(axes, shares, names, [f"{100 * share:.0f}" for share in shares.ravel()])
    axes.set(xlabel="experiment", ylabel="same outcome, % of battles")
    pairs = [(shares[i, j], i, j) for i in range(len(judged)) for j in range(i) if not np.isnan(shares[i, j])]
    told = "only one experiment"
    if pairs:
        (low, i, j), (high, k, m) = min(pairs), max(pairs)
        told = (
            f"most alike are {judged[k].label} and {judged[m].label} ({high:.0%}), "
            f"least {judged[i].label} and {judged[j].label} ({low:.0%})"
        )
    return Chart(
        "agreement",
        figure,
        "On how many of the battles that both predicted two experiments hold the same outcome for the most "
        f"probable: {told}. What disagrees and is about as good is worth pooling.",
        f"Heat map of agreement between {len(judged)} experiments: {told}.",
    )


def agreement(a: Judged, b: Judged) -> float:
    """The share of the battles both predicted on which their most probable outcome is the same; NaN for none."""
    first, second = a.shared_with(b)
    if not len(first):
        return float("nan")
    same: npt.NDArray[np.bool_] = first.argmax(axis=1) == second.argmax(axis=1)
    return float(same.mean())
