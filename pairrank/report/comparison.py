"""How runs compare: which of them differ, and their scores on slices of the battles as a heat map and as tables."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pairrank.evaluation.leaderboard import Leaderboard
from pairrank.evaluation.slices import Slice, compared_slices, loss_by_slice
from pairrank.report.charts import Chart, cell_marks, heat_map, label, new_axes, styled
from pairrank.report.marks import Marks
from pairrank.report.page import Block, Table
from pairrank.report.scored_runs import Results, ScoredRun

MAX_RUNS = 12
"""Largest number of runs in the map of slices: the best ones."""
MAX_PAIRED = 16
"""Largest number of rows whose pairs are listed: the best ones."""

Floats = npt.NDArray[np.float64]


def pair_table(leaderboard: Leaderboard) -> Table:
    """Return the differences of all pairs of the best rows, corrected for the number of all pairs."""
    best = [row.label for row in leaderboard.rows if row.rank is not None][:MAX_PAIRED]
    rows = [
        [
            f"{pair.better} – {pair.worse}",
            f"{-pair.difference:+.4f} [{-pair.high:+.4f}, {-pair.low:+.4f}]",
            "yes" if pair.is_significant else "no",
            "" if pair.battles_needed is None else f"{pair.battles_needed:,}",
        ]
        for pair in leaderboard.pairs
        if {pair.better, pair.worse} <= set(best)
    ]
    caption = (
        f"Pairs of the best {len(best)} rows. The intervals are corrected for the number of all "
        f"{len(leaderboard.pairs):,} pairs (max-t over the bootstrap): with a probability of 95 %, all of them "
        "contain the true differences. The last column is the number of battles, at this ratio of battles to "
        "prompts, at which a pair would differ significantly with a probability of 80 %, if its true difference is "
        "the observed one."
    )
    return Table(["pair", "Δ [95 %, all pairs]", "differs", "battles needed"], rows, caption, folded=True)


def slice_blocks(results: Results) -> list[Block]:
    """Return the map and the table of the log loss of runs on slices; nothing if no slice is large enough."""
    slices = compared_slices(results.survey)
    runs = [run for run in results.runs if results.row(run).rank is not None]
    if not slices or not runs:
        return []
    means = loss_by_slice(_losses(runs, len(results.battles)), slices)
    return [slice_map(runs[:MAX_RUNS], slices, means[:MAX_RUNS]), _slice_table(runs, slices, means)]


@styled
def slice_map(runs: Sequence[ScoredRun], slices: Sequence[Slice], means: Floats) -> Chart:
    """Draw the (r, s) log losses of r runs on s slices, one column per run."""
    gaps = means - np.nanmin(means, axis=0)
    largest = float(np.nanmax(gaps)) or 1.0
    figure, [axes] = new_axes(1.6 + 0.17 * len(slices))
    # The unit of a length is in the table, which has room for it.
    short = [label(each.name.removesuffix(" characters"), 18) for each in slices]
    names = [f"{each.kind}: {name} ({each.rows.sum():,})" for each, name in zip(slices, short, strict=True)]
    cells = [f"{mean:.2f}" for mean in means.T.ravel()]
    columns = [label(run.label, 22) for run in runs]
    mesh = heat_map(axes, 1 - gaps.T / largest, names, cells, size=5, columns=columns)
    marks = Marks()
    marks.add(mesh, cell_marks(names, [run.label for run in runs], cells))
    axes.set(xlabel="experiment", ylabel="slice (battles)")
    axes.tick_params(labelsize=6)
    spread = np.nanmax(gaps, axis=0)
    widest = slices[int(spread.argmax())]
    summary = f"the runs differ most on {widest.kind}: {widest.name} (by {spread.max():.2f})"
    return Chart(
        "slice-map",
        figure,
        f"Log loss of the best {len(runs)} runs on slices (battles with one property in common); {summary}. "
        "The colour is the distance from the best run of the same slice: yellow is as good, dark blue is "
        f"{largest:.2f} worse. Small slices are noisy: see the intervals of single runs below.",
        f"Heat map of the log loss of {len(runs)} runs on {len(slices)} slices: {summary}.",
        marks,
    )


def _slice_table(runs: Sequence[ScoredRun], slices: Sequence[Slice], means: Floats) -> Table:
    names = [f"{each.kind}: {each.name} ({each.rows.sum():,})" for each in slices]
    rows = [
        [run.label, f"{run.log_loss:.3f}", *(f"{mean:.3f}" for mean in row)]
        for run, row in zip(runs, means, strict=True)
    ]
    caption = "Log loss of all ranked runs on slices (number of battles)"
    return Table(["experiment", "all", *names], rows, caption, folded=True, terms=dict.fromkeys(names, "slice"))


def _losses(runs: Sequence[ScoredRun], battles: int) -> Floats:
    """Return (r, n) losses of r runs, NaN for battles that a run has not predicted."""
    losses = np.full((len(runs), battles), np.nan)
    for row, run in zip(losses, runs, strict=True):
        row[run.rows] = run.losses
    return losses
