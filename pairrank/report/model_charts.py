"""Charts of runs: learning curves, calibration, errors, slices, and agreement between runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.evaluation.intervals import wilson
from pairrank.evaluation.scoring import Bin, confusion, reliability
from pairrank.evaluation.slices import SliceScore
from pairrank.report.charts import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    INK,
    MARKERS,
    Chart,
    cell_marks,
    heat_map,
    label,
    new_axes,
    styled,
)
from pairrank.report.marks import Mark, Marks
from pairrank.report.scored_runs import ScoredRun, calibration_gap

LARGE_SLICE = 50
"""Battles that a slice must have to be named in a caption."""
SHORT = ("A", "B", "tie")
"""Names of the outcomes in a confusion matrix."""


@styled
def learning_curves(run: str, name: str, history: Sequence[Mapping[str, Any]]) -> Chart:
    """Draw training and validation loss, accuracy and log loss against steps, one line per fold.

    `history` has the rows of history.csv; the name of the chart begins with `name`.
    """
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
    metric.set(xlabel="step (optimiser updates)", ylabel="nats, or share correct")
    for axes in (loss, metric):
        axes.legend(ncols=2)
    best = _best_step(history)
    return Chart(
        f"{name}-curves",
        figure,
        f"{run}: training and validation loss (top), accuracy and log loss on held-out training prompts (bottom); "
        f"one marker per fold; {best}. If the validation loss rises while the training loss falls, the model "
        "overfits.",
        f"Learning curves of {run}: {best}.",
    )


@styled
def reliability_plot(name: str, runs: Sequence[ScoredRun], title: str) -> Chart:
    """Draw observed shares against predicted probabilities, for one or several runs."""
    figure, [axes, below] = new_axes(5.0, rows=2, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    end, marks = 0.0, Marks()
    for run, colour, marker in zip(runs, CYCLE, MARKERS, strict=False):
        bins = reliability(run.proba, run.winner)
        predicted, observed, counts = zip(*((b.predicted, b.observed, b.count) for b in bins), strict=True)
        [line] = axes.plot(
            predicted, observed, color=colour, marker=marker, markersize=5, linewidth=1.2, label=label(run.label)
        )
        marks.add(line, [_bin_mark(run.label, b) for b in bins])
        if len(runs) == 1:
            low, high = wilson(np.array(observed) * np.array(counts), counts)
            axes.vlines(predicted, low, high, color=colour, linewidth=1)
        below.plot(predicted, counts, color=colour, marker=marker, markersize=4, linewidth=1)
        end = max(end, *predicted, *observed)
    axes.set(ylabel="observed share", xlim=(0, end + 0.05), ylim=(0, end + 0.05))
    axes.legend()
    below.set(xlabel="predicted probability of an outcome", ylabel="outcomes per bin", ylim=(0, None))
    gaps = ", ".join(f"{run.label} {calibration_gap(run):.3f}" for run in runs[: len(CYCLE)])
    return Chart(
        f"{name}-reliability",
        figure,
        f"Reliability diagram of {title}. Each point is a bin of outcomes with about the same predicted "
        "probability (their number is below). On the dotted line, outcomes with a predicted probability of 30 % "
        "were observed 30 % of the time. A curve flatter than the line is over-confident, a steeper one "
        "under-confident. Mean distance from the line, over "
        f"all outcomes: {gaps}." + (" Bars are Wilson's 95 % intervals." if len(runs) == 1 else ""),
        f"Reliability diagram; mean distance from the diagonal: {gaps}.",
        marks,
    )


def _bin_mark(run: str, one: Bin) -> Mark:
    share = f"predicted {one.predicted:.1%}, observed {one.observed:.1%}"
    return Mark(f"{run}: {share} ({one.count:,} outcomes)", run)


@styled
def confusion_plot(name: str, run: ScoredRun) -> Chart:
    """Draw the most probable outcome against the observed one."""
    table = confusion(run.proba, run.winner)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, [axes] = new_axes(3.4)
    cells = [f"{count:,}\n{part:.0%}" for count, part in zip(table.ravel(), share.ravel(), strict=True)]
    heat_map(axes, share, SHORT, cells, size=8)
    axes.set(xlabel="most probable outcome (predicted)", ylabel="outcome of the vote (observed)")
    correct = int(np.trace(table))
    accuracy = f"{correct:,} of {int(table.sum()):,} correct ({correct / table.sum():.1%})"
    predicted, observed = int(table[:, 2].sum()), int(table[2].sum())
    ties = f"a tie was the most probable outcome of {predicted:,} battles and the observed outcome of {observed:,}"
    return Chart(
        f"{name}-confusion",
        figure,
        f"{run.label}: battles by vote (row) and most probable outcome (column), with the share of the row: "
        f"{accuracy}; {ties}.",
        f"Confusion matrix of {run.label}: {accuracy}; {ties}.",
    )


@styled
def slice_plot(name: str, run: str, scores: Sequence[SliceScore], overall: float) -> Chart:
    """Draw the log loss on each slice with its interval; `overall` is the log loss on all battles."""
    ranked = scores[::-1]
    figure, [axes] = new_axes(1.0 + 0.185 * len(ranked))
    kinds, marks = list(dict.fromkeys(score.kind for score in scores)), Marks()
    colours = [CYCLE[kinds.index(score.kind) % 2] for score in ranked]
    means = np.array([score.log_loss.mean for score in ranked])
    half = np.array([_half(score) for score in ranked])
    axes.errorbar(means, range(len(ranked)), xerr=half, fmt="none", ecolor=colours, elinewidth=1.2)  # type: ignore[arg-type]
    for colour in dict.fromkeys(colours):
        places = [i for i, each in enumerate(colours) if each == colour]
        [points] = axes.plot(means[places], places, "o", color=colour, markersize=4)
        marks.add(points, [_slice_mark(ranked[i]) for i in places])
    axes.axvline(overall, color=INK, linestyle="--", linewidth=0.8)
    names = [f"{score.kind}: {label(score.name, 30)} ({score.log_loss.battles:,})" for score in ranked]
    axes.set_yticks(range(len(ranked)), names, fontsize=7)
    axes.set(xlabel="log loss (nats)", ylabel="slice (battles)", ylim=(-0.7, len(ranked) - 0.3))
    extremes = _extreme_slices(scores)
    return Chart(
        f"{name}-slices",
        figure,
        f"{run}: log loss on slices, which are battles with one property in common, with 95 % intervals over "
        "prompts and the number of battles. The dashed line is the log loss on all battles; colours alternate "
        f"between kinds of slices. {extremes}. A slice may be hard because voters disagree there. Of twenty "
        "slices, about one stands out by chance.",
        f"Dot plot of {len(scores)} slices of {run}. {extremes}.",
        marks,
    )


@styled
def agreement_map(runs: Sequence[ScoredRun]) -> Chart:
    """Draw how often two runs have the same most probable outcome."""
    names = [label(run.label, 22) for run in runs]
    shares = np.array([[agreement(a, b) for b in runs] for a in runs])
    figure, [axes] = new_axes(1.6 + 0.25 * len(runs))
    cells = [f"{100 * share:.0f}" for share in shares.ravel()]
    labels, marks = [run.label for run in runs], Marks()
    marks.add(heat_map(axes, shares, names, cells), cell_marks(labels, labels, cells, " %"))
    axes.set(xlabel="experiment", ylabel="same outcome (%)")
    pairs = [(shares[i, j], i, j) for i in range(len(runs)) for j in range(i) if not np.isnan(shares[i, j])]
    summary = "no two experiments have predicted the same battles"
    if pairs:
        (low, i, j), (high, k, m) = min(pairs), max(pairs)
        summary = (
            f"{runs[k].label} and {runs[m].label} agree most ({high:.0%}), "
            f"{runs[i].label} and {runs[j].label} least ({low:.0%})"
        )
    return Chart(
        "agreement",
        figure,
        "Share of battles for which two experiments have the same most probable outcome, of the battles that both "
        f"have predicted: {summary}. Experiments that are about equally good and disagree are worth pooling.",
        f"Heat map of agreement between {len(runs)} experiments: {summary}.",
        marks,
    )


def agreement(a: ScoredRun, b: ScoredRun) -> float:
    """Return the share of their common battles with the same most probable outcome; NaN without common battles."""
    first, second = a.shared_with(b)
    if not len(first):
        return float("nan")
    same: npt.NDArray[np.bool_] = first.argmax(axis=1) == second.argmax(axis=1)
    return float(same.mean())


def _half(score: SliceScore) -> float:
    """Return half the width of the interval of a slice; 0 if it has one prompt and so no interval."""
    mean = score.log_loss
    return mean.high - mean.mean if np.isfinite(mean.high) else 0.0


def _slice_mark(score: SliceScore) -> Mark:
    mean = score.log_loss
    return Mark(f"{score.kind}: {score.name}: {mean.mean:.4f} ± {_half(score):.4f} ({mean.battles:,} battles)")


def _known(value: float | None) -> bool:
    """Return whether a value was measured and is finite."""
    return value is not None and bool(np.isfinite(value))


def _best_step(history: Sequence[Mapping[str, Any]]) -> str:
    """Return a clause that names the step with the lowest held-out log loss."""
    measured = [row for row in history if _known(row["Log Loss"])]
    if not measured:
        return "no training prompts were held out"
    best = min(measured, key=lambda row: row["Log Loss"])
    return (
        f"the lowest held-out log loss was {best['Log Loss']:.4f}, at step {best['Step']:.0f} of fold "
        f"{best['Fold']:.0f}"
    )


def _extreme_slices(scores: Sequence[SliceScore]) -> str:
    """Return a sentence, without its full stop, that names the slices with the highest and the lowest loss."""
    enough = min(LARGE_SLICE, max(score.log_loss.battles for score in scores))
    large = [score for score in scores if score.log_loss.battles >= enough]
    hard, easy = (choose(large, key=lambda score: score.log_loss.mean) for choose in (max, min))
    return (
        f"Of the slices with at least {enough} battles, the hardest is {hard.kind}: {hard.name} "
        f"({hard.log_loss.mean:.3f}) and the easiest {easy.kind}: {easy.name} ({easy.log_loss.mean:.3f})"
    )
