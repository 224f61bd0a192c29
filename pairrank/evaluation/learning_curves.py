"""Learning curves: the log loss of experiments by their number of training battles, with fitted power laws.

All points are scored on the same battles, and all intervals come from the same bootstrap samples of prompts. Where
a size was repeated with other subsets of the training battles, the repeats are drawn as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.data.folds import split_keys
from pairrank.data.predictions import Predictions
from pairrank.data.probabilities import FloatArray
from pairrank.errors import UserError, unknown_name
from pairrank.evaluation.crossings import Crossing, Sampled, find_crossing
from pairrank.evaluation.curve_runs import runs_by_size, training_sizes
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.intervals import Difference, Mean, bootstrap_means
from pairrank.evaluation.leaderboard import aligned_losses, without_tuning_folds
from pairrank.evaluation.scoring import battle_losses

DRAWS = 1_000
"""Bootstrap samples, to each of which the laws are fitted again."""

KAGGLE = 57_477
"""Number of training battles of the Kaggle competition, to which curves are extrapolated by default."""

PRIOR = "prior"
"""The experiment at which the skill is 0: the frequency of each outcome among all training battles."""


@dataclass(frozen=True)
class Point:
    """The score of an experiment at one number of training battles."""

    train_size: int
    """The requested number of training battles; 0 for all of them."""
    battles: float
    """The mean number of training battles over folds and repeats."""
    repeats: int
    """How many subsets of this size were drawn; per battle, the losses of the repeats are averaged."""
    log_loss: Mean
    spread: float | None
    """Standard deviation of the log loss between the repeats; None without repeats."""
    difference: Difference | None
    """Log loss minus that of the reference at the same size; None for the reference, or if it lacks the size."""
    skill: float | None
    """Share of the way from the prior to the floor, 1 at the floor; None if either is unknown."""


@dataclass(frozen=True)
class Law:
    """The fitted power law loss = floor + scale * size ** -exponent, and what follows from it."""

    floor: float
    scale: float
    exponent: float
    expected: Mean
    """The log loss at the size that was asked for, with its 95 % interval over bootstrap samples and repeats."""
    per_doubling: Mean
    """The slope at the largest measured size: the change of the log loss per doubling of the training battles."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one experiment."""

    label: str
    points: tuple[Point, ...]
    """In the order of their sizes."""
    law: Law | None
    """None with fewer than `crossings.FEWEST_SIZES` sizes, or if it misses the loss at the largest one."""
    doubt: str
    """Why the law says nothing about larger sizes; "" if it does."""


@dataclass(frozen=True)
class LearningCurves:
    """The learning curves of several experiments on the same battles."""

    data: str
    battles: int
    """Number of scored battles, which are the same for every point."""
    prompts: int
    target: int
    """The number of training battles to which the laws are extrapolated."""
    reference: str
    prior: float | None
    """Log loss of the frequencies of the outcomes."""
    floor: float | None
    """Log loss of the true probabilities; only for simulated battles."""
    curves: tuple[Curve, ...]
    crossings: tuple[Crossing, ...]
    """One for each pair of experiments."""


@dataclass(frozen=True, eq=False)
class _Losses:
    """The r runs of one experiment at one size, and their losses on the n common battles."""

    size: float
    """Mean number of training battles."""
    losses: FloatArray
    """(n, r) losses in nats."""


def build_curves(
    data: str,
    battles: Battles,
    entries: Sequence[Entry],
    target: int,
    reference: str = "",
    truth: Predictions | None = None,
) -> LearningCurves | None:
    """Return the learning curves of all experiments that were run at several sizes; None if there are none.

    `battles` must have winners, `target` is the number of training battles to extrapolate to, `reference` the
    experiment to which differences are computed (by default the first), and `truth` are the true probabilities of
    simulated battles. Raises UserError for an unknown reference, or if no battle was predicted by all runs.
    """
    entries = [without_tuning_folds(each, battles) for each in entries]
    series = runs_by_size(entries)
    if not series:
        return None
    reference = reference or next(iter(series))
    if reference not in series:
        raise UserError(f"--reference: {unknown_name('learning curve', reference, series)}")
    index = {name: row for row, name in enumerate(battles.id.tolist())}
    used = [each for sizes in series.values() for some in sizes.values() for each in some]
    columns = {each.label: aligned_losses(each, battles, index) for each in used}
    common: npt.NDArray[np.bool_] = np.asarray(np.isfinite(np.stack(list(columns.values()))).all(axis=0))
    if not common.any():
        raise UserError("learning curves: no battle was predicted by every run. Run the same folds of all sizes.")
    keys = split_keys(battles)
    counted = training_sizes(keys, [each.record for each in used if each.record])
    measured = {
        label: {
            size: _Losses(
                float(np.mean([counted[each.label] for each in some])),
                np.stack([columns[each.label][common] for each in some], axis=1),
            )
            for size, some in sizes.items()
        }
        for label, sizes in series.items()
    }
    ends = _ends(entries, battles, index, common, truth)
    groups = [key for key, is_common in zip(keys, common.tolist(), strict=True) if is_common]
    return _summarise(data, measured, ends, groups, target, reference)


def _ends(
    entries: Sequence[Entry],
    battles: Battles,
    index: Mapping[str, int],
    common: npt.NDArray[np.bool_],
    truth: Predictions | None,
) -> dict[str, FloatArray]:
    """Return the losses on the common battles of the prior and of the true probabilities, if they are known."""
    found: dict[str, FloatArray] = {}
    for entry in entries:
        if entry.label == PRIOR and len(entry.predictions):
            losses = aligned_losses(entry, battles, index)[common]
            if not np.isnan(losses).any():
                found["prior"] = losses
    if truth is not None:
        proba = truth.align(battles.id[common], "true probabilities").proba
        found["floor"] = battle_losses(proba, battles.labels[common])
    return found


def _summarise(
    data: str,
    measured: Mapping[str, Mapping[int, _Losses]],
    ends: Mapping[str, FloatArray],
    groups: Sequence[str],
    target: int,
    reference: str,
) -> LearningCurves:
    """Bootstrap all columns at once, and summarise every curve and every pair of curves."""
    columns = [each.losses for sizes in measured.values() for each in sizes.values()]
    table = bootstrap_means(np.column_stack([*columns, *ends.values()]), groups, DRAWS)
    parts = iter(np.split(table, np.cumsum([each.shape[1] for each in columns]), axis=1))
    sampled = {
        label: Sampled(
            tuple(sizes),
            np.array([each.size for each in sizes.values()]),
            np.array([each.losses.mean() for each in sizes.values()]),
            np.column_stack([_drawn_repeats(next(parts)) for _ in sizes]),
        )
        for label, sizes in measured.items()
    }
    drawn_ends = dict(zip(ends, next(parts).T, strict=True))
    means = {name: float(losses.mean()) for name, losses in ends.items()}
    lowest = np.append(means.get("floor", 0.0), drawn_ends.get("floor", np.zeros(DRAWS)))
    best = min(float(each.means[-1]) for each in sampled.values())
    most = max(float(each.means[0]) for each in sampled.values())
    room = means.get("prior", most) - means.get("floor", best)
    sampled = {label: each.with_laws(lowest, target, room) for label, each in sampled.items()}
    curves = tuple(
        _curve(label, measured[label], each, sampled[reference] if label != reference else None, means, target)
        for label, each in sampled.items()
    )
    return LearningCurves(
        data=data,
        battles=len(groups),
        prompts=len(set(groups)),
        target=target,
        reference=reference,
        prior=means.get("prior"),
        floor=means.get("floor"),
        curves=curves,
        crossings=tuple(
            find_crossing(one, two, target)
            for one, two in combinations(sampled.items(), 2)
            if set(one[1].requested) & set(two[1].requested)
        ),
    )


def _drawn_repeats(means: FloatArray) -> FloatArray:
    """Return (draws,) means over r repeats that are drawn with replacement, from the (draws, r) means of each.

    The same repeats are drawn for every experiment and size, because subsets of one number are nested. The mean of
    such a draw varies too little by a factor of sqrt((r - 1) / r), which is corrected.
    """
    repeats = means.shape[1]
    mean = means.mean(axis=1)
    if repeats == 1:
        return np.asarray(mean)
    chosen = np.random.default_rng(1).integers(0, repeats, means.shape)
    drawn = np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    return np.asarray(mean + (drawn - mean) * np.sqrt(repeats / (repeats - 1)))


def _curve(
    label: str,
    sizes: Mapping[int, _Losses],
    sampled: Sampled,
    reference: Sampled | None,
    ends: Mapping[str, float],
    target: int,
) -> Curve:
    points = tuple(
        _point(size, each, sampled, place, reference, ends) for place, (size, each) in enumerate(sizes.items())
    )
    return Curve(label, points, _law(sampled, target, points[0].log_loss.battles), sampled.doubt)


def _law(sampled: Sampled, target: int, battles: int) -> Law | None:
    laws = sampled.laws
    if laws is None:
        return None
    return Law(
        floor=float(laws.floor[0]),
        scale=float(laws.scale[0]),
        exponent=float(laws.exponent[0]),
        expected=_interval(laws.at(target), battles),
        per_doubling=_interval(laws.per_doubling(float(sampled.sizes[-1])), battles),
    )


def _point(
    size: int,
    measured: _Losses,
    sampled: Sampled,
    place: int,
    reference: Sampled | None,
    ends: Mapping[str, float],
) -> Point:
    n, repeats = measured.losses.shape
    mean = float(measured.losses.mean())
    difference = None
    if reference is not None and size in reference.requested:
        there = reference.requested.index(size)
        drawn = sampled.draws[:, place] - reference.draws[:, there]
        low, high = np.quantile(drawn, [0.025, 0.975])
        difference = Difference(mean - float(reference.means[there]), float(low), float(high))
    return Point(
        train_size=size,
        battles=measured.size,
        repeats=repeats,
        log_loss=_interval(np.append(mean, sampled.draws[:, place]), n),
        spread=float(measured.losses.mean(axis=0).std(ddof=1)) if repeats > 1 else None,
        difference=difference,
        skill=(ends["prior"] - mean) / (ends["prior"] - ends["floor"]) if len(ends) == 2 else None,
    )


def _interval(values: FloatArray, battles: int) -> Mean:
    """Return the first value with the 95 % interval of the others, which are those of the bootstrap samples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Mean(float(values[0]), float(low), float(high), battles)
