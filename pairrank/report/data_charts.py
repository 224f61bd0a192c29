"""What is in the data: labels, lengths, turns, languages, models, and what length does to the vote."""

from collections import Counter

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

from pairrank.data.battles import Winner
from pairrank.evaluation.scoring import wilson
from pairrank.evaluation.survey import UNKNOWN, Survey
from pairrank.features.ratings import Ratings
from pairrank.report.charts import BLUE, GREY, INK, OUTCOMES, RED, Chart, heat_map, label, new_axes, styled

TEXT_NAMES = ("Prompt", "Answer A", "Answer B")
CUT = 0.95
"""Histograms end at this quantile: a few texts are a hundred times as long as most."""
MOST_MODELS = 30
MOST_IN_MAP = 14
RATIOS = (-np.inf, -2, -1, -0.5, -0.2, 0.2, 0.5, 1, 2, np.inf)
"""Bins of log2(A's characters / B's)."""
FEW = 5
"""Battles between two models below which their win rate is left blank."""


@styled
def label_counts(survey: Survey) -> Chart:
    """How often A, B and nobody won."""
    counts: list[int] = np.bincount(survey.winner[survey.winner != UNKNOWN], minlength=3).tolist()
    figure, [axes] = new_axes(2.4)
    bars = axes.bar(list(OUTCOMES), counts, color=list(OUTCOMES.values()))
    total = sum(counts)
    axes.bar_label(bars, [f"{count:,} ({count / total:.1%})" for count in counts], fontsize=8, padding=2)
    axes.margins(y=0.12)
    axes.set(ylabel="battles", xlabel="outcome of the vote")
    axes.grid(visible=False, axis="x")
    told = ", ".join(f"{name} {count / total:.1%}" for name, count in zip(OUTCOMES, counts, strict=True))
    return Chart(
        "labels",
        figure,
        f"Label distribution of {total:,} battles: {told}. A model that knows no more than these shares is the "
        "prior, which every other must beat.",
        f"Bar chart of the outcomes: {told}.",
    )


@styled
def length_histograms(lengths: npt.NDArray[np.integer], unit: str, of: str = "") -> Chart:
    """Lengths (n, 3) of prompt, A and B in this unit, cut at the 95 % quantile."""
    figure, rows = new_axes(5.4, rows=3)
    told = []
    for axes, name, values in zip(rows, TEXT_NAMES, lengths.T, strict=True):
        end = max(1.0, float(np.quantile(values, CUT))) if len(values) else 1.0
        axes.hist(values, bins=50, range=(0, end), color=BLUE)
        median = float(np.median(values)) if len(values) else 0.0
        axes.axvline(median, color=RED, linestyle="--", linewidth=1.2)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlim=(0, end), ylabel="battles", xlabel=f"{name}: {unit} (median {median:,.0f}, dashed)")
        told.append(f"{name[0].lower() + name[1:]} {median:,.0f} and {end:,.0f}")
    figure.suptitle(f"Length in {unit}, 0 to 95 % quantile", fontsize=10)
    return Chart(
        f"lengths-{unit.split()[0].lower()}",
        figure,
        f"Lengths in {unit}{of}; at most the longest 5 % lie beyond the right edge. Median and 95 % quantile: "
        f"{'; '.join(told)}.",
        f"Three histograms of lengths in {unit}. Median and 95 % quantile: {'; '.join(told)}.",
    )


@styled
def turn_counts(survey: Survey) -> Chart:
    """How many turns conversations have."""
    turns = np.clip(survey.turns, 1, 10)
    counts = np.bincount(turns, minlength=11)[1:]
    figure, [axes] = new_axes(2.3)
    axes.bar([*map(str, range(1, 10)), "10+"], counts, color=BLUE)
    axes.set(xlabel="turns of the conversation", ylabel="battles (log scale)", yscale="log", ylim=(0.5, None))
    axes.grid(visible=False, axis="x")
    single = (survey.turns <= 1).mean() if len(survey) else 0.0
    longest = int(survey.turns.max(initial=0))
    return Chart(
        "turns",
        figure,
        f"{single:.1%} of the conversations have one turn; the longest has {longest}.",
        f"Bar chart of turns: {single:.1%} have one, the longest has {longest}.",
    )


@styled
def languages(survey: Survey) -> Chart:
    """In which languages battles are held."""
    counted = Counter(survey.language.tolist()).most_common()
    shown, rest = counted[:12], sum(count for _, count in counted[12:])
    names = [code for code, _ in shown] + (["other"] if rest else [])
    counts = [count for _, count in shown] + ([rest] if rest else [])
    figure, [axes] = new_axes(0.9 + 0.22 * len(names))
    bars = axes.barh(names[::-1], counts[::-1], color=BLUE)
    axes.bar_label(bars, [f"{count:,}" for count in counts[::-1]], fontsize=8, padding=3)
    axes.set(xlabel="battles (log scale)", ylabel="language", xscale="log", xlim=(0.5, 3 * max(counts, default=1)))
    axes.grid(visible=False, axis="y")
    told = ", ".join(f"{name} {count:,}" for name, count in zip(names[:5], counts, strict=False))
    return Chart(
        "languages",
        figure,
        f"Languages as guessed from the letters of prompt and answers (ISO 639 codes): {told}. A guess: a short "
        "text, or a translation asked for in another language, is sometimes taken for the wrong one.",
        f"Bar chart of languages: {told}.",
    )


@styled
def model_strengths(ratings: Ratings) -> Chart:
    """Strengths of the models with the most battles, with 95 % intervals."""
    often = sorted(range(len(ratings.models)), key=lambda i: -ratings.battles[i])[:MOST_MODELS]
    ranked = sorted(often, key=lambda i: ratings.strength[i])
    strength = np.array([ratings.strength[i] for i in ranked])
    reach = 1.96 * np.array([ratings.error[i] for i in ranked])
    figure, [axes] = new_axes(1.1 + 0.17 * len(ranked))
    places = range(len(ranked))
    axes.errorbar(strength, places, xerr=reach, fmt="o", color=BLUE, markersize=4, linewidth=1.2)
    axes.set_yticks(places, [f"{label(ratings.models[i])} ({ratings.battles[i]:,})" for i in ranked], fontsize=7)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="strength (log scale, mean 0)", ylabel="model (battles)", ylim=(-0.7, len(ranked) - 0.3))
    best, worst = ratings.models[ranked[-1]], ratings.models[ranked[0]]
    return Chart(
        "strengths",
        figure,
        f"Strengths of the {len(ranked)} models with the most battles (Bradley-Terry with Davidson's ties) and "
        "their 95 % intervals. A model that is stronger by 1 wins 2.7 times as often as it loses; intervals that "
        "overlap widely mean that too few battles were fought.",
        f"Dot plot of model strengths from {worst} (lowest) to {best} (highest).",
    )


@styled
def pair_heat_map(survey: Survey) -> Chart:
    """How often each of the commonest models beats each other one."""
    known = survey.take((survey.winner != UNKNOWN) & (survey.model_a != "") & (survey.model_b != ""))
    sides = Counter([*known.model_a.tolist(), *known.model_b.tolist()])
    names = [name for name, _ in sides.most_common(MOST_IN_MAP)]
    place = {name: i for i, name in enumerate(names)}
    won, met = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for a, b, winner in zip(known.model_a.tolist(), known.model_b.tolist(), known.winner.tolist(), strict=True):
        if a in place and b in place and a != b:
            i, j = place[a], place[b]
            met[i, j] += 1
            met[j, i] += 1
            won[i, j] += (1.0, 0.0, 0.5)[winner]
            won[j, i] += (0.0, 1.0, 0.5)[winner]
    rate = np.where(met >= FEW, won / np.maximum(met, 1), np.nan)
    shown = [label(name, 20) for name in names]
    figure, [axes] = new_axes(4.6)
    heat_map(axes, rate, shown, [f"{value:.0%}".rstrip("%") for value in rate.ravel()])
    axes.set(xlabel="against", ylabel="win rate of, in % (a tie counts half)")
    return Chart(
        "pairs",
        figure,
        f"Win rate of the row's model against the column's, in per cent, a tie counting half, among the "
        f"{len(names)} models with the most battles. Pairs with fewer than {FEW} battles are blank: most rates "
        "here rest on a handful.",
        f"Heat map of win rates between {len(names)} models; {int((met >= FEW).sum() // 2)} pairs have met often.",
    )


@styled
def length_effect(survey: Survey) -> Chart:
    """How the vote depends on which answer is longer."""
    known = survey.take(survey.winner != UNKNOWN)
    ratio = _log_ratio(known)
    place = np.digitize(ratio, RATIOS[1:-1])
    bins = [i for i in range(len(RATIOS) - 1) if (place == i).any()]
    outcomes = np.array([np.bincount(known.winner[place == i], minlength=3) for i in bins]).reshape(-1, 3)
    counts = outcomes.sum(axis=1)
    figure, [axes, below] = new_axes(3.9, rows=2, sharex=True, height_ratios=(3, 1))
    xs = range(len(bins))
    for (name, colour), count, marker in zip(OUTCOMES.items(), outcomes.T, "o^s", strict=True):
        share, (low, high) = count / counts, wilson(count, counts)
        axes.errorbar(
            xs,
            share,
            yerr=np.maximum([share - low, high - share], 0),
            color=colour,
            marker=marker,
            label=name,
            markersize=4,
        )
    axes.set(ylabel="share of the votes", ylim=(0, None))
    axes.legend(ncols=3, loc="upper center")
    below.bar(xs, counts, color=GREY)
    below.set_xticks(list(xs), [_ratio_name(i) for i in bins], rotation=35, ha="right")
    below.set(ylabel="battles", xlabel="characters of A / characters of B")
    longer = known.winner[ratio > 0], known.winner[ratio < 0]
    wins = sum(int((side == who).sum()) for side, who in zip(longer, (Winner.A, Winner.B), strict=True))
    decided = sum(int((side != Winner.TIE).sum()) for side in longer)
    told = f"the longer answer won {wins:,} of {decided:,} decided battles of unequal length"
    told += f" ({wins / decided:.1%})" if decided else ""
    return Chart(
        "length-effect",
        figure,
        f"Outcome by how many times as long A is as B, with Wilson's 95 % intervals: {told}. Ties gather where "
        "both are about equally long.",
        f"Lines of the shares of A wins, B wins and ties against the ratio of lengths: {told}.",
    )


def _ratio_name(i: int) -> str:
    low, high = RATIOS[i], RATIOS[i + 1]
    if low == -np.inf:
        return f"< {2**high:.2g}"
    return f"≥ {2**low:.2g}" if high == np.inf else f"{2**low:.2g}–{2**high:.2g}"


def _log_ratio(survey: Survey) -> npt.NDArray[np.float64]:
    """(n,) log2 of A's characters over B's, each one more than it has, so that an empty answer counts too."""
    a, b = survey.chars[:, 1] + 1.0, survey.chars[:, 2] + 1.0
    return np.asarray(np.log2(a) - np.log2(b))
