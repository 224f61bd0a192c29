"""Learning curves as text: a table with one row per size, notes for readers, Markdown, and JSON."""

import re
from dataclasses import asdict
from pathlib import Path

from pairrank.evaluation.crossings import Crossing
from pairrank.evaluation.intervals import Difference, Mean
from pairrank.evaluation.leaderboard_table import DASH, escape
from pairrank.evaluation.learning_curves import Curve, LearningCurves, Point
from pairrank.evaluation.power_law import EXPONENTS
from pairrank.files import write_json, write_text


def to_json(curves: LearningCurves, path: Path) -> None:
    """Write the curves as JSON, with every digit."""
    write_json(path, asdict(curves))


def to_markdown(curves: LearningCurves, path: Path, chart: str) -> None:
    """Write the curves as Markdown that shows the file `chart`, which lies next to it."""
    write_text(path, markdown(curves, chart))


def markdown(curves: LearningCurves, chart: str = "") -> str:
    """Return the table as Markdown, with the notes below it."""
    table = columns(curves)
    names = ", ".join(curve.label for curve in curves.curves)
    lines = [f"# Learning curves: {escape(curves.data)}", "", summary(curves), ""]
    if chart:
        lines += [f"![Log loss by the number of training battles: {escape(names)}]({chart})", ""]
    lines += ["| " + " | ".join(map(escape, table)) + " |", "|" + "---|" * len(table)]
    lines += ["| " + " | ".join(map(escape, cells)) + " |" for cells in zip(*table.values(), strict=True)]
    lines += ["", *(f"- {escape(note)}" for note in notes(curves)), ""]
    return "\n".join(lines)


def summary(curves: LearningCurves) -> str:
    """Return a sentence about the battles, and the log losses of the prior and of the true probabilities."""
    ends = [
        f"{name} {value:.4f}"
        for name, value in (("prior", curves.prior), ("floor", curves.floor))
        if value is not None
    ]
    known = f" Log loss of the {' and of the '.join(ends)}." if ends else ""
    return (
        f"{curves.battles:,} scored battles with {curves.prompts:,} distinct prompts, the same at every size. "
        f"Out-of-fold log loss in nats, lower is better.{known}"
    )


def columns(curves: LearningCurves) -> dict[str, list[str]]:
    """Return column name -> one cell per row: the points of each curve and, last, its law at the target."""
    rows = [row for curve in curves.curves for row in _rows(curve, curves.target)]
    names = ["experiment", "battles", "log loss [95 %]", f"Δ {curves.reference} [95 %]", "skill"]
    table = {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}
    return {name: cells for name, cells in table.items() if set(cells) != {DASH}}


def _rows(curve: Curve, target: int) -> list[list[str]]:
    rows = [[curve.label, *_cells(point)] for point in curve.points]
    expected = _mean(curve.law.expected) if curve.law and not curve.doubt else "not determined"
    return [*rows, [curve.label, f"{target:,}*", expected, DASH, DASH]]


def _cells(point: Point) -> list[str]:
    return [
        f"{point.battles:,.0f}",
        _mean(point.log_loss),
        DASH if point.difference is None else _difference(point.difference),
        DASH if point.skill is None else f"{100 * point.skill:.0f} %",
    ]


def notes(curves: LearningCurves) -> list[str]:
    """Return what follows from each curve and each pair of curves, and how to read the intervals."""
    return [
        *(_law_text(curve, curves.target) for curve in curves.curves),
        *(crossing_text(each) for each in curves.crossings),
        *_reading(curves),
    ]


def _reading(curves: LearningCurves) -> list[str]:
    """Return how to read the table."""
    repeats = max(point.repeats for curve in curves.curves for point in curve.points)
    drawn = f" and over the {repeats} subsets of a size" if repeats > 1 else ""
    text = (
        f"Intervals: bootstrap over prompts{drawn}; the laws are fitted again to each sample. How much the log "
        "loss of the whole training part depends on which battles it has is not covered. A law assumes that the "
        "loss goes on falling as it did; no interval covers that it does not."
    )
    skill = "Skill: share of the way from the prior to the floor." if _has_skill(curves) else ""
    return list(filter(None, [f"* {curves.target:,} training battles, by the fitted law.", text, skill]))


def _has_skill(curves: LearningCurves) -> bool:
    return any(point.skill is not None for curve in curves.curves for point in curve.points)


def _law_text(curve: Curve, target: int) -> str:
    """Return a sentence about the law of a curve."""
    if curve.law is None:
        return f"{curve.label}: {curve.doubt}."
    law = curve.law
    found = (
        f"{curve.label}: {law.floor:.3f} + {law.scale:.3g} n^-{law.exponent:.2f}; "
        f"{_signed(law.per_doubling)} per doubling at {curve.points[-1].battles:,.0f} battles; "
        f"at {target:,} battles {_mean(law.expected)}"
    )
    if curve.doubt:
        return f"{found}, {curve.doubt}."
    if law.exponent < 1.01 * EXPONENTS[0]:
        return (
            f"{found}. The losses show no bend yet, so the law is almost a line in log size: an optimistic guess."
        )
    return f"{found}."


def crossing_text(crossing: Crossing) -> str:
    """Return a sentence about which of two experiments is better, and from which size on."""
    sure = f"ahead at {crossing.end:,.0f} in {100 * crossing.confidence:.0f} % of the bootstrap samples"
    if crossing.size is None:
        return f"{crossing.better} is ahead of {crossing.worse} at every measured size; {sure}."
    how = "by the fitted laws, beyond the measured sizes" if crossing.is_extrapolated else "measured"
    return (
        f"{crossing.better} overtakes {crossing.worse} at about {_rounded(crossing.size)} battles ({how}); {sure}."
    )


def _rounded(size: float) -> str:
    """Return a size with two significant digits."""
    return f"{float(f'{size:.2g}'):,.0f}"


def _mean(mean: Mean) -> str:
    return f"{mean.mean:.4f} [{mean.low:.3f}, {mean.high:.3f}]"


def _signed(mean: Mean) -> str:
    return f"{mean.mean:+.4f} [{mean.low:+.4f}, {mean.high:+.4f}]"


def _difference(difference: Difference) -> str:
    text = f"{difference.mean:+.4f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    return re.sub(r"(?<=[+-])0\.", ".", text)  # so that the table has 80 columns at most
