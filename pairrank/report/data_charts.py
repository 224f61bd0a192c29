"""Charts of the data: labels, lengths, turns, languages, models, and the effect of length on the vote."""

from collections import Counter

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from pairrank.data.battles import Winner
from pairrank.evaluation.intervals import wilson
from pairrank.evaluation.survey import UNKNOWN, Survey
from pairrank.features.ratings import Ratings
from pairrank.report.charts import (
    BLUE,
    GREY,
    INK,
    OUTCOMES,
    RED,
    Chart,
    cell_marks,
    heat_map,
    label,
    new_axes,
    styled,
)
from pairrank.report.marks import Mark, Marks

TEXT_NAMES = ("Prompt", "Answer A", "Answer B")
HISTOGRAM_END = 0.95
"""Quantile at which histograms end: a few texts are a hundred times as long as most."""
MAX_LANGUAGES = 12
"""Languages with a bar of their own."""
MAX_MODELS = 30
"""Models in the chart of strengths."""
MAX_IN_MAP = 14
"""Models in the map of win rates."""
MIN_BATTLES = 5
"""Battles between two models below which their win rate is left blank."""
RATIOS = (-np.inf, -2, -1, -0.5, -0.2, 0.2, 0.5, 1, 2, np.inf)
"""Edges of the bins of log2(characters of A / characters of B)."""


@styled
def label_counts(survey: Survey) -> Chart:
    """Draw how often A won, B won, and the vote was a tie."""
    counts: list[int] = np.bincount(survey.winner[survey.winner != UNKNOWN], minlength=3).tolist()
    figure, [axes] = new_axes(2.4)
    bars, marks = axes.bar(list(OUTCOMES), counts, color=list(OUTCOMES.values())), Marks()
    total = sum(counts)
    marks.add_each(bars, [Mark(f"{name}: {count:,} battles") for name, count in zip(OUTCOMES, counts, strict=True)])
    axes.bar_label(bars, [f"{count:,} ({count / total:.1%})" for count in counts], fontsize=8, padding=2)
    axes.margins(y=0.12)
    axes.set(ylabel="battles", xlabel="outcome of the vote")
    axes.grid(visible=False, axis="x")
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in zip(OUTCOMES, counts, strict=True))
    return Chart(
        "labels",
        figure,
        f"Outcomes of {total:,} battles: {shares}. The prior predicts these shares for every battle; it is the "
        "baseline that every other model must beat.",
        f"Bar chart of the outcomes: {shares}.",
        marks,
    )


@styled
def length_histograms(lengths: npt.NDArray[np.integer], unit: str, of: str = "") -> Chart:
    """Draw histograms of the (n, 3) lengths of prompt, A and B, up to the 95 % quantile.

    `of` is the part of the caption that names the battles.
    """
    figure, rows = new_axes(5.4, rows=3)
    quantiles, marks = [], Marks()
    for axes, name, values in zip(rows, TEXT_NAMES, lengths.T, strict=True):
        end = max(1.0, float(np.quantile(values, HISTOGRAM_END))) if len(values) else 1.0
        counts, edges, bars = axes.hist(values, bins=50, range=(0, end), color=BLUE)
        marks.add_each(
            list(bars),  # type: ignore[arg-type]  # bars of one histogram, which matplotlib's types do not say
            [
                Mark(f"{name}: {low:,.0f} to {high:,.0f} {unit}: {count:,.0f} battles")
                for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
            ],
        )
        median = float(np.median(values)) if len(values) else 0.0
        axes.axvline(median, color=RED, linestyle="--", linewidth=1.2)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlim=(0, end), ylabel="battles", xlabel=f"{name}: {unit} (median {median:,.0f}, dashed)")
        quantiles.append(f"{name[0].lower() + name[1:]} {median:,.0f} and {end:,.0f}")
    figure.suptitle(f"Length in {unit}, 0 to 95 % quantile", fontsize=10)
    summary = f"Median and 95 % quantile: {'; '.join(quantiles)}."
    return Chart(
        f"lengths-{unit.split()[0].lower()}",
        figure,
        f"Lengths in {unit}{of}. At most the longest 5 % of the texts lie beyond the right edge. {summary}",
        f"Three histograms of lengths in {unit}. {summary}",
        marks,
    )


@styled
def turn_counts(survey: Survey) -> Chart:
    """Draw how many turns the conversations have."""
    turns = np.clip(survey.turns, 1, 10)
    counts = np.bincount(turns, minlength=11)[1:]
    figure, [axes] = new_axes(2.3)
    names, marks = [*map(str, range(1, 10)), "10+"], Marks()
    bars = axes.bar(names, counts, color=BLUE)
    marks.add_each(bars, [Mark(f"{name} turns: {count:,}") for name, count in zip(names, counts, strict=True)])
    axes.set(xlabel="turns of the conversation", ylabel="battles (log scale)", yscale="log", ylim=(0.5, None))
    axes.grid(visible=False, axis="x")
    single = (survey.turns <= 1).mean() if len(survey) else 0.0
    longest = int(survey.turns.max(initial=0))
    return Chart(
        "turns",
        figure,
        f"{single:.1%} of the conversations have one turn; the longest has {longest}.",
        f"Bar chart of the number of turns: {single:.1%} have one turn, the longest has {longest}.",
        marks,
    )


@styled
def languages(survey: Survey) -> Chart:
    """Draw the number of battles per language."""
    counted = Counter(survey.language.tolist()).most_common()
    shown, rest = counted[:MAX_LANGUAGES], sum(count for _, count in counted[MAX_LANGUAGES:])
    names = [code for code, _ in shown] + (["other"] if rest else [])
    counts = [count for _, count in shown] + ([rest] if rest else [])
    figure, [axes] = new_axes(0.9 + 0.22 * len(names))
    bars = axes.barh(names[::-1], counts[::-1], color=BLUE)
    axes.bar_label(bars, [f"{count:,}" for count in counts[::-1]], fontsize=8, padding=3)
    axes.set(xlabel="battles (log scale)", ylabel="language", xscale="log", xlim=(0.5, 3 * max(counts, default=1)))
    axes.grid(visible=False, axis="y")
    largest = ", ".join(f"{name} {count:,}" for name, count in zip(names[:5], counts, strict=False))
    return Chart(
        "languages",
        figure,
        f"Languages (ISO 639 codes), estimated from prompt and answers: {largest}. The estimate is "
        "sometimes wrong for short texts, and for requests to translate.",
        f"Bar chart of languages: {largest}.",
    )


@styled
def model_strengths(ratings: Ratings) -> Chart:
    """Draw the strengths of the models with the most battles, with 95 % intervals."""
    frequent = sorted(range(len(ratings.models)), key=lambda i: -ratings.battles[i])[:MAX_MODELS]
    ranked = sorted(frequent, key=lambda i: ratings.strength[i])
    strength = np.array([ratings.strength[i] for i in ranked])
    half = 1.96 * np.array([ratings.error[i] for i in ranked])
    figure, [axes] = new_axes(1.1 + 0.17 * len(ranked))
    places = range(len(ranked))
    bars = axes.errorbar(strength, places, xerr=half, fmt="o", color=BLUE, markersize=4, linewidth=1.2)
    marks = Marks()
    marks.add(bars[0], [_strength_mark(ratings, i) for i in ranked])
    axes.set_yticks(places, [f"{label(ratings.models[i])} ({ratings.battles[i]:,})" for i in ranked], fontsize=7)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="strength (log scale, mean 0)", ylabel="model (battles)", ylim=(-0.7, len(ranked) - 0.3))
    best, worst = ratings.models[ranked[-1]], ratings.models[ranked[0]]
    return Chart(
        "strengths",
        figure,
        f"Strengths of the {len(ranked)} models with the most battles, with 95 % intervals (Bradley-Terry model "
        "with Davidson's extension for ties). A model whose strength is greater by 1 wins 2.7 times as often as "
        "it loses. Intervals that overlap widely mean that there are too few battles to rank the models.",
        f"Dot plot of model strengths from {worst} (lowest) to {best} (highest).",
        marks,
    )


def _strength_mark(ratings: Ratings, i: int) -> Mark:
    name, half = ratings.models[i], 1.96 * ratings.error[i]
    return Mark(f"{name}: {ratings.strength[i]:+.2f} ± {half:.2f} ({ratings.battles[i]:,} battles)", name)


@styled
def pair_heat_map(survey: Survey) -> Chart:
    """Draw the win rates of the frequent models against each other."""
    names, wins, battles = _win_counts(survey)
    rate = np.where(battles >= MIN_BATTLES, wins / np.maximum(battles, 1), np.nan)
    figure, [axes] = new_axes(4.6)
    cells = [f"{value:.0%}".rstrip("%") for value in rate.ravel()]
    marks = Marks()
    marks.add(
        heat_map(axes, rate, [label(name, 20) for name in names], cells), cell_marks(names, names, cells, " %")
    )
    axes.set(xlabel="opponent", ylabel="win rate in % (a tie counts half)")
    pairs = int((battles >= MIN_BATTLES).sum() // 2)
    return Chart(
        "pairs",
        figure,
        f"Win rate, in per cent, of the row's model against the column's, for the {len(names)} models with the "
        f"most battles; a tie counts half. Pairs with fewer than {MIN_BATTLES} battles are blank. Many of the "
        "other rates come from few battles.",
        f"Heat map of win rates between {len(names)} models; {pairs} pairs have at least {MIN_BATTLES} battles.",
        marks,
    )


@styled
def length_effect(survey: Survey) -> Chart:
    """Draw how the vote depends on which answer is longer."""
    known = survey.take(survey.winner != UNKNOWN)
    ratio = _log_ratio(known)
    place = np.digitize(ratio, RATIOS[1:-1])
    bins = [i for i in range(len(RATIOS) - 1) if (place == i).any()]
    outcomes = np.array([np.bincount(known.winner[place == i], minlength=3) for i in bins]).reshape(-1, 3)
    counts = outcomes.sum(axis=1)
    figure, [axes, below] = new_axes(3.9, rows=2, sharex=True, height_ratios=(3, 1))
    marks = Marks()
    for (name, colour), count, marker in zip(OUTCOMES.items(), outcomes.T, "o^s", strict=True):
        share, (low, high) = count / counts, wilson(count, counts)
        error = np.maximum([share - low, high - share], 0)
        line = axes.errorbar(
            range(len(bins)), share, yerr=error, color=colour, marker=marker, label=name, markersize=4
        )[0]
        values = zip(bins, share.tolist(), strict=True)
        marks.add(line, [Mark(f"A / B {_ratio_name(i)}: {name} {value:.1%}") for i, value in values])
    axes.set(ylabel="share of the votes", ylim=(0, None))
    axes.legend(ncols=3, loc="upper center")
    below.bar(range(len(bins)), counts, color=GREY)
    below.set_xticks(range(len(bins)), [_ratio_name(i) for i in bins], rotation=35, ha="right")
    below.set(ylabel="battles", xlabel="characters of A / characters of B")
    summary = _longer_wins(known, ratio)
    return Chart(
        "length-effect",
        figure,
        f"Shares of the outcomes by the ratio of the answers' lengths, with Wilson's 95 % intervals: {summary}. "
        "If length had no effect, the lines would be horizontal.",
        f"Lines of the shares of A wins, B wins and ties against the ratio of lengths: {summary}.",
        marks,
    )


def _win_counts(survey: Survey) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the (m,) most frequent models, and (m, m) points of row against column and battles of both."""
    known = survey.take((survey.winner != UNKNOWN) & (survey.model_a != "") & (survey.model_b != ""))
    appearances = Counter([*known.model_a.tolist(), *known.model_b.tolist()])
    names = [name for name, _ in appearances.most_common(MAX_IN_MAP)]
    index = {name: i for i, name in enumerate(names)}
    wins, battles = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for a, b, winner in zip(known.model_a.tolist(), known.model_b.tolist(), known.winner.tolist(), strict=True):
        if a in index and b in index and a != b:
            i, j = index[a], index[b]
            battles[i, j] += 1
            battles[j, i] += 1
            wins[i, j] += (1.0, 0.0, 0.5)[winner]
            wins[j, i] += (0.0, 1.0, 0.5)[winner]
    return names, wins, battles


def _longer_wins(known: Survey, ratio: npt.NDArray[np.float64]) -> str:
    """Return a clause that says how often the longer answer won."""
    longer = known.winner[ratio > 0], known.winner[ratio < 0]
    wins = sum(int((side == who).sum()) for side, who in zip(longer, (Winner.A, Winner.B), strict=True))
    decided = sum(int((side != Winner.TIE).sum()) for side in longer)
    share = f" ({wins / decided:.1%})" if decided else ""
    return f"the longer answer won {wins:,} of {decided:,} decided battles of unequal length{share}"


def _ratio_name(i: int) -> str:
    low, high = RATIOS[i], RATIOS[i + 1]
    if low == -np.inf:
        return f"< {2**high:.2g}"
    return f"≥ {2**low:.2g}" if high == np.inf else f"{2**low:.2g}–{2**high:.2g}"


def _log_ratio(survey: Survey) -> npt.NDArray[np.float64]:
    """Return (n,) log2 of A's length over B's; 1 is added to both, so that empty answers also have a ratio."""
    a, b = survey.chars[:, 1] + 1.0, survey.chars[:, 2] + 1.0
    return np.asarray(np.log2(a) - np.log2(b))
