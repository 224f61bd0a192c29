"""The page about the runs: leaderboard, cost, calibration, slices, biases, large errors, and provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pairrank.evaluation.history import HISTORY
from pairrank.evaluation.intervals import Mean
from pairrank.evaluation.leaderboard import Leaderboard, Row
from pairrank.evaluation.leaderboard_table import columns, notes
from pairrank.evaluation.slices import Bias, SliceScore
from pairrank.report import comparison, leaderboard_charts, model_charts, size_charts
from pairrank.report.answer import answer_section
from pairrank.report.cards import card, predictions_for, worst_and_disputed
from pairrank.report.formatting import configuration, interval_ends, origin, provenance
from pairrank.report.page import Block, Cards, Heading, Page, Section, Table, Text
from pairrank.report.scored_runs import Results, ScoredRun, calibration_gap

MAX_COMPARED = 16
"""Largest number of runs in the map of agreement."""
WORST, DISPUTED = 15, 30
"""Battles that are shown for their loss, per run, and for disagreement, over all pairs of runs."""


def results_page(results: Results) -> Page:
    """Return the page about the runs."""
    leaderboard, shown = results.leaderboard, results.shown
    sections = [
        answer_section(results),
        Section("Leaderboard", _leaderboard(leaderboard)),
        Section("Cost", _costs(leaderboard)),
    ]
    if results.curves is not None:
        sections.append(Section(size_charts.TITLE, size_charts.curve_blocks(results.curves)))
    if slices := comparison.slice_blocks(results):
        sections.append(Section("Slices", slices))
    if len(results.runs) > 1:
        sections.append(Section("Agreement", [model_charts.agreement_map(_compared(results))]))
    which = ", ".join(run.label for run in shown)
    sections += [Section(run.label, _run(results, run, f"run{i}"), folded=True) for i, run in enumerate(shown)]
    if trained := [run for run in results.runs if run.record and run.record.history]:
        sections.append(
            Section(
                "Training", [block for i, run in enumerate(trained) for block in _training(run, i)], folded=True
            )
        )
    sections += [
        Section("Large errors and disagreements", _errors(results)),
        Section("Provenance", [block for run in results.runs for block in _provenance(run)], folded=True),
    ]
    return Page(
        f"Which architecture predicts the vote best? {leaderboard.data}",
        f"{len(results.runs)} experiments on {leaderboard.battles:,} battles with {leaderboard.prompts:,} "
        f"distinct prompts, scored out of fold by log loss (nats, lower is better). Shown in detail: {which}.",
        sections,
        "Made by pairrank report.",
    )


def leaderboard_table(leaderboard: Leaderboard) -> Table:
    """Return the leaderboard without the columns that are empty for every row, the most important ones first."""
    table = {name: cells for name, cells in columns(leaderboard).items() if set(cells) != {"–"}}
    differences = [name for name in table if name.startswith("Δ ")]
    first = ["experiment", "log loss ± s.e.", *differences, "rank", "skill"]
    table = {name: table[name] for name in first if name in table} | table
    rows = list(zip(*table.values(), strict=True))
    caption = "The leaderboard: ± is the standard error, [ ] a 95 % interval."
    return Table(list(table), rows, caption, first=("log loss ± s.e.", *differences))


def slice_table(scores: Sequence[SliceScore]) -> Table:
    """Return the log loss on each slice, and the observed and predicted shares of the outcomes."""
    rows = [
        [
            f"{score.kind}: {score.name}",
            f"{score.log_loss.battles:,}",
            interval(score.log_loss),
            *(f"{one:.0%} / {two:.0%}" for one, two in zip(score.observed, score.predicted, strict=True)),
        ]
        for score in scores
    ]
    titles = [
        "slice",
        "battles",
        "log loss [95 %]",
        "A wins, observed / predicted",
        "B wins, observed / predicted",
        "tie, observed / predicted",
    ]
    return Table(
        titles, rows, "Slices in numbers: log loss, and observed and predicted shares of the outcomes", folded=True
    )


def bias_table(found: Sequence[Bias], row: Row) -> Table:
    """Return position bias, length bias and asymmetry in numbers."""
    rows = [
        [
            f"favours the {bias.name}",
            f"{bias.observed:+.3f}",
            f"{bias.predicted:+.3f}",
            interval(bias.excess, "+.3f"),
        ]
        for bias in found
    ]
    for name, value in (("swap gap", row.swap_gap), ("flip rate", row.flip_rate)):
        if value is not None:
            rows.append([f"{name} (0 is symmetric)", "0", f"{value:.4f}", ""])
    return Table(
        ["tendency", "voters", "model", "model - voters [95 %]"],
        rows,
        "Biases. Model: the mean of P(for) - P(against). Voters: the mean of 1 for, -1 against and 0 for a tie. If "
        "the last column is above 0, the model has more of the tendency than the voters; below 0 it has less, as a "
        "cautious model does. If the interval contains 0, there is no evidence for either. Swap gap and flip rate "
        "measure what changes when A and B change places.",
    )


def interval(mean: Mean, form: str = ".3f") -> str:
    """Return a mean with its 95 % interval as text."""
    return f"{mean.mean:{form}} {interval_ends(mean, form)}"


def _leaderboard(leaderboard: Leaderboard) -> list[Block]:
    general: list[str] = []
    single: list[str] = []
    labels = [row.label for row in leaderboard.rows] + list(leaderboard.unscored)
    for line in filter(None, notes(leaderboard)):
        (single if any(line.startswith(f"{name}: ") for name in labels) else general).append(line)
    blocks: list[Block] = [leaderboard_charts.leaderboard_plot(leaderboard)]
    if len(leaderboard.rows) > 1:
        blocks.append(leaderboard_charts.difference_plot(leaderboard))
    blocks += [leaderboard_table(leaderboard), *map(Text, general)]
    if leaderboard.pairs:
        blocks.append(comparison.pair_table(leaderboard))
    return [*blocks, Text("\n".join(single), f"Notes on single rows ({len(single)})")] if single else blocks


def _costs(leaderboard: Leaderboard) -> list[Block]:
    charts: list[Block] = []
    for cost in ("training_seconds", "parameters"):
        if any(getattr(row, cost) for row in leaderboard.rows):
            charts.append(leaderboard_charts.cost_plot(leaderboard, cost))
    return charts or [Text("The cost of these entries is unknown.")]


def _compared(results: Results) -> list[ScoredRun]:
    shown = results.shown
    others = [run for run in results.runs if run not in shown]
    return [*shown, *others][:MAX_COMPARED]


def _run(results: Results, run: ScoredRun, name: str) -> list[Block]:
    """Return the charts and tables of one run."""
    row = results.row(run)
    record = run.record
    about = record.experiment.get("about", "") if record else ""
    if run.manifest:
        about = f"{run.label}: {run.manifest}"
    score = f"Log loss {row.log_loss:.4f} ± {row.standard_error:.4f} on {row.battles:,} battles."
    blocks: list[Block] = [Text(" ".join(filter(None, [about, score])))]
    labels = record.inputs if record else {}
    inputs = [other for label in labels for other in results.runs if other.label == label]
    if inputs and record and record.model["name"] == "pool":
        title = f"{run.label} (after pooling) and its inputs (before)"
        blocks.append(model_charts.reliability_plot(name, [run, *inputs], title))
        blocks.append(pooling_table(results, run, inputs))
    else:
        blocks.append(model_charts.reliability_plot(name, [run], run.label))
    scores = results.slices(run)
    blocks += [
        model_charts.confusion_plot(name, run),
        model_charts.slice_plot(name, run.label, scores, run.log_loss),
    ]
    blocks += [bias_table(results.biases(run), row), slice_table(scores)]
    if record and record.encoder and run.label not in results.windows:
        blocks.append(Text("The slice of battles that were cut to fit the window is not available."))
    return blocks


def _training(run: ScoredRun, number: int) -> list[Block]:
    """Return the learning curves of a fine-tuned run."""
    history = run.record.history if run.record else ()
    curves = model_charts.learning_curves(run.label, f"training{number}", history)
    return [Heading(run.label), curves, history_table(history)]


def pooling_table(results: Results, run: ScoredRun, inputs: Sequence[ScoredRun]) -> Table:
    """Return log loss and calibration of a pool and of its inputs."""
    rows = []
    for when, each in [("after", run), *(("before", one) for one in inputs)]:
        row = results.row(each)
        rows.append(
            [
                each.label,
                when,
                f"{row.log_loss:.4f}",
                f"{row.calibration_error:.3f}",
                f"{calibration_gap(each):.3f}",
            ]
        )
    titles = ["experiment", "pooling", "log loss", "ECE (most probable outcome)", "mean distance (all outcomes)"]
    return Table(titles, rows, "Before and after pooling: log loss and calibration")


def history_table(history: Sequence[Mapping[str, Any]]) -> Table:
    """Return the step table of the published notebook."""
    rows = [[f"{row['Fold']:.0f}", *(_number(row[name]) for name in HISTORY)] for row in history]
    caption = "Training step by step; runtime (seconds), samples and steps per second are those of the evaluation"
    return Table(["Fold", *HISTORY], rows, caption, folded=True)


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:.4f}"


def _errors(results: Results) -> list[Block]:
    shown = results.shown
    reasons = worst_and_disputed(shown, WORST, DISPUTED)
    cards = [
        card(results.battles, results.survey, row, why, predictions_for(shown, row))
        for row, why in sorted(reasons.items())
    ]
    cards.sort(key=lambda one: -max((each.loss for each in one.predictions), default=0.0))
    intro = (
        f"The {WORST} battles with the largest loss of each run that is shown in detail, and the {DISPUTED} on "
        "which two of these runs disagree most (total variation distance); the largest loss comes first. The model "
        "or the voter may be wrong."
    )
    return [Text(intro), Cards("mistakes", cards)]


def _provenance(run: ScoredRun) -> list[Block]:
    """Return the provenance and the configuration of a run."""
    if run.manifest is not None:
        what = f"{run.label}: an entry that was made elsewhere"
        return [Table(["what", "value"], list(origin(run.manifest).items()), what, folded=True)]
    if run.record is None:
        return [Heading(run.label), Text("This file was added by a user; its provenance is unknown.")]
    return [
        Table(["what", "value"], list(provenance(run.record).items()), run.label, folded=True),
        Text(configuration(run.record), f"{run.label}: configuration"),
    ]
