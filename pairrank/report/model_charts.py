"""Runs as pictures: how they learned, how well they know what they know, where they err, how far they agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.evaluation.scoring import confusion, reliability, wilson
from pairrank.evaluation.slices import SliceScore
from pairrank.report.charts import BLUE, CYCLE, GREEN, GREY, INK, MARKERS, Chart, heat_map, label, new_axes, styled
from pairrank.report.judged_runs import Judged, gap

LARGE = 50
"""Battles of a slice that a caption may single out."""
SHORT = ("A", "B", "tie")


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
        said, came = [b.predicted for b in bins], [b.observed for b in bins]
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
    heat_map(axes, share, SHORT, cells, size=8)
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
    kinds = list(dict.fromkeys(score.kind for score in scores))
    for place, score in zip(places, ranked, strict=True):
        mean = score.log_loss
        colour = CYCLE[kinds.index(score.kind) % 2]
        reach = mean.high - mean.mean if np.isfinite(mean.high) else 0.0  # of one prompt nothing is known
        axes.errorbar(mean.mean, place, xerr=reach, fmt="o", color=colour, markersize=4, linewidth=1.2)
    axes.axvline(overall, color=INK, linestyle="--", linewidth=0.8)
    names = [f"{score.kind}: {label(score.name, 30)} ({score.log_loss.battles:,})" for score in ranked]
    axes.set_yticks(places, names, fontsize=7)
    axes.set(xlabel="log loss (nats)", ylabel="slice (battles)", ylim=(-0.7, len(ranked) - 0.3))
    enough = min(LARGE, max(score.log_loss.battles for score in scores))
    large = [score for score in scores if score.log_loss.battles >= enough]
    hard, easy = (pick(large, key=lambda s: s.log_loss.mean) for pick in (max, min))
    told = (
        f"hardest is {hard.kind}: {hard.name} ({hard.log_loss.mean:.3f}), "
        f"easiest {easy.kind}: {easy.name} ({easy.log_loss.mean:.3f})"
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
