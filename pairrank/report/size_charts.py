"""The chart of learning curves, and the blocks that show them in a page."""

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from pairrank.data.probabilities import FloatArray
from pairrank.evaluation.intervals import Mean
from pairrank.evaluation.learning_curve_table import columns, notes, summary
from pairrank.evaluation.learning_curves import Curve, Law, LearningCurves
from pairrank.report.charts import CYCLE, GREEN, INK, MARKERS, Chart, label, new_axes, styled
from pairrank.report.formatting import interval_ends
from pairrank.report.marks import Mark, Marks
from pairrank.report.page import Block, Page, Section, Table, Text

TITLE = "Log loss by the number of training battles"


@styled
def loss_by_size(curves: LearningCurves) -> Chart:
    """Draw the log loss of each experiment against its number of training battles, and its law up to the target."""
    figure, [axes] = new_axes(4.2)
    marks = Marks()
    for i, curve in enumerate(curves.curves):
        line = _draw_curve(axes, curve, CYCLE[i % len(CYCLE)], MARKERS[i % len(MARKERS)], curves.target)
        marks.add(line, [_size_mark(curve.label, point.battles, point.log_loss) for point in curve.points])
    if curves.prior is not None:
        axes.axhline(curves.prior, color=INK, linestyle=":", linewidth=1, label="prior, all training battles")
    if curves.floor is not None:
        axes.axhline(curves.floor, color=GREEN, linestyle="-.", linewidth=1, label="floor: true probabilities")
    axes.set(xscale="log", xlabel="training battles (log scale)", ylabel="log loss (nats, lower is better)")
    figure.legend(loc="outside upper center", ncols=2)
    best = min(curves.curves, key=lambda curve: curve.points[-1].log_loss.mean)
    largest = f"{best.points[-1].battles:,.0f} training battles"
    return Chart(
        "loss-by-size",
        figure,
        f"Log loss on {curves.battles:,} battles, the same at every size, with 95 % intervals over prompts and "
        f"subsets. Dashed: the fitted power law up to {curves.target:,} battles, with its interval at the end; a "
        "curve whose law is not determined has none. The intervals of two curves may overlap although one is "
        "significantly better, because both were scored on the same battles: see the differences. With "
        f"{largest}, the best is {best.label} ({best.points[-1].log_loss.mean:.4f}).",
        f"Line chart of {len(curves.curves)} learning curves; with {largest}, the best is {best.label}.",
        marks,
    )


def _size_mark(label: str, battles: float, loss: Mean) -> Mark:
    text = f"{label}: {loss.mean:.4f} {interval_ends(loss, '.4f')} with {battles:,.0f} training battles"
    return Mark(text, label)


def curve_blocks(curves: LearningCurves) -> list[Block]:
    """Return the chart, the table and the notes of learning curves."""
    table = columns(curves)
    rows = list(zip(*table.values(), strict=True))
    return [
        Text(summary(curves)),
        loss_by_size(curves),
        Table(list(table), rows, f"{TITLE}; the last row of each experiment is its fitted law."),
        *map(Text, notes(curves)),
    ]


def curves_page(curves: LearningCurves) -> Page:
    """Return the page about learning curves alone."""
    names = ", ".join(curve.label for curve in curves.curves)
    return Page(
        f"What are more training battles worth? {curves.data}",
        f"The log loss of {len(curves.curves)} experiments at several numbers of training battles: {names}.",
        [Section(TITLE, curve_blocks(curves))],
        "Made by pairrank curve.",
    )


def _draw_curve(axes: Axes, curve: Curve, colour: str, marker: str, target: int) -> Artist:
    """Draw a curve and its law, and return the line through its points."""
    sizes = [point.battles for point in curve.points]
    losses = [point.log_loss for point in curve.points]
    half = [[each.mean - each.low for each in losses], [each.high - each.mean for each in losses]]
    means = [each.mean for each in losses]
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
    bars = axes.errorbar(sizes, means, yerr=np.abs(half), label=label(curve.label, 28), elinewidth=0.7, **style)
    points: Artist = bars[0]
    if curve.law is None or curve.doubt or target <= sizes[-1]:
        return points
    beyond = np.geomspace(sizes[-1], target, 60)
    axes.plot(beyond, _along(curve.law, beyond), color=colour, linestyle="--", linewidth=1)
    end = curve.law.expected
    ends = np.abs([[end.mean - end.low], [end.high - end.mean]])
    axes.errorbar(
        [target], [end.mean], yerr=ends, color=colour, marker=marker, markersize=4, mfc="none", elinewidth=0.7
    )
    return points


def _along(law: Law, sizes: FloatArray) -> FloatArray:
    return np.asarray(law.floor + law.scale * sizes**-law.exponent)
