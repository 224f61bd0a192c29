"""Slices show where a model does well or badly: its log loss on battles with one property in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Winner
from pairrank.data.probabilities import Labels, Proba, normalise
from pairrank.evaluation.intervals import Mean, clustered_mean
from pairrank.evaluation.scoring import battle_losses
from pairrank.evaluation.survey import Survey

Rows = npt.NDArray[np.bool_]

MUCH_LONGER, LONGER = 2.0, 1.25
"""Ratios of lengths from which an answer counts as much longer, or longer, than the other."""
PROMPT_CHARS = (100, 500, 2_000)
"""Edges, in characters, of the slices by prompt length."""
MIN_BATTLES = 10
"""Battles that a language or a pair of models must have to be a slice of its own."""
MAX_NAMES = 20
"""Languages, categories or judges that become slices: those with the most battles. All others are one slice."""
MAX_PERIODS = 12
"""Months that become slices; battles of more months are divided by years, of which the first ones are one slice."""
MAX_PAIRS = 10
"""Pairs of models that become slices: those with the most battles."""

MAX_COMPARED = 6
"""Slices of one property, such as languages, on which all runs are compared."""
MIN_COMPARED = 30
"""Battles that a slice must have for that."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Battles with one property in common."""

    kind: str
    """The property, such as "turns"."""
    name: str
    """Its value, such as "2"."""
    rows: Rows
    """(n,) mask of the battles that are in the slice."""


@dataclass(frozen=True)
class SliceScore:
    """The score of one model on a slice."""

    kind: str
    name: str
    log_loss: Mean
    """In nats, with its 95 % interval over prompts and the number of battles."""
    observed: tuple[float, float, float]
    """Observed shares of A, B and tie."""
    predicted: tuple[float, float, float]
    """Mean predicted probabilities of A, B and tie."""


@dataclass(frozen=True)
class Bias:
    """How much a model favours one kind of answer, compared with the voters."""

    name: str
    observed: float
    """The voters' preference: the mean of 1 for, -1 against and 0 for a tie."""
    predicted: float
    """The model's preference: the mean of P(for) - P(against)."""
    excess: Mean
    """Predicted minus observed, paired. Below 0 the model has less of the preference, as a cautious model does."""


def slices_of(survey: Survey, proba: Proba, window: tuple[str, Rows] | None = None) -> list[Slice]:
    """Return every slice that has a battle.

    `proba` (n, 3) is used for the slices by predicted P(tie) only; all others depend on the battles alone. `window`
    is the name of an encoder's window and a (n,) mask of the battles that were cut to fit it.
    """
    tie = normalise(proba)[:, Winner.TIE]
    low, high = np.quantile(tie, [1 / 3, 2 / 3])
    by_kind: dict[str, dict[str, Rows]] = {
        **_by_content(survey),
        "judge": _frequent(survey.judge.tolist(), other="other") if survey.judge.any() else {},
        "time": _by_time(survey) if survey.month.any() else {},
        "group": _by_group(survey) if survey.group_hash.any() else {},
        "both bad": _by_both_bad(survey) if survey.both_bad.any() else {},
        "window": {} if window is None else {f"cut to {window[0]}": window[1], "whole": ~window[1]},
        "predicted P(tie)": {
            f"below {low:.2f}": tie < low,
            f"{low:.2f} to {high:.2f}": (tie >= low) & (tie <= high),
            f"above {high:.2f}": tie > high,
        },
        "models": dict(list(_frequent(_pairs(survey), other="").items())[:MAX_PAIRS]),
    }
    return _slices(by_kind)


def compared_slices(survey: Survey) -> list[Slice]:
    """Return the slices on which all runs are compared; they depend on the battles alone.

    Of each property, the `MAX_COMPARED` slices with the most battles are returned, if they have `MIN_COMPARED`.
    """
    decided = survey.winner != Winner.TIE
    by_kind = _by_content(survey) | {"votes": {"decided": decided, "ties": ~decided}}
    chosen = {kind: _largest(slices) for kind, slices in by_kind.items()}
    return _slices(chosen)


def loss_by_slice(losses: Proba, slices: Sequence[Slice]) -> Proba:
    """Return (r, s) mean losses of r rows on s slices, from their (r, n) losses of n battles.

    NaN where a row has no loss, NaN, for some battles of a slice, because its mean could not be compared.
    """
    return np.stack([losses[:, each.rows].mean(axis=1) for each in slices], axis=1)


def score_slices(
    slices: Sequence[Slice], proba: Proba, winner: Labels, groups: npt.NDArray[np.uint64]
) -> list[SliceScore]:
    """Score (n, 3) probabilities on each slice of n battles; intervals are over (n,) `groups` (prompts)."""
    losses, normalised = battle_losses(proba, winner), normalise(proba)
    return [
        SliceScore(
            each.kind,
            each.name,
            clustered_mean(losses[each.rows], groups[each.rows]),
            _triple(np.eye(3)[winner[each.rows]].mean(axis=0)),
            _triple(normalised[each.rows].mean(axis=0)),
        )
        for each in slices
    ]


def biases(survey: Survey, proba: Proba, winner: Labels) -> list[Bias]:
    """Return how much (n, 3) probabilities favour the first answer and the longer one, compared with the voters."""
    a, b = survey.chars[:, 1], survey.chars[:, 2]
    much_longer = _times(a, b, MUCH_LONGER) * 1.0 - _times(b, a, MUCH_LONGER)
    # 1 where A is the favoured answer, -1 where it is B, 0 where neither is.
    sides = {
        "first answer (A)": np.ones(len(winner)),
        "longer answer": np.sign(a - b),
        f"answer at least {MUCH_LONGER:g} times as long": much_longer,
    }
    found = []
    for name, side in sides.items():
        rows = side != 0
        if not rows.any():
            continue
        observed = side * np.array([1.0, -1.0, 0.0])[winner]
        predicted = side * (normalise(proba) @ [1.0, -1.0, 0.0])
        excess = clustered_mean((predicted - observed)[rows], survey.prompt_hash[rows])
        found.append(Bias(name, float(observed[rows].mean()), float(predicted[rows].mean()), excess))
    return found


def _slices(by_kind: Mapping[str, Mapping[str, Rows]]) -> list[Slice]:
    """Return every slice that has a battle."""
    return [Slice(kind, name, rows) for kind, some in by_kind.items() for name, rows in some.items() if rows.any()]


def _largest(slices: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the slices of one property that are large enough to be compared, in their order."""
    sizes = sorted((int(rows.sum()) for rows in slices.values()), reverse=True)
    least = max(MIN_COMPARED, sizes[:MAX_COMPARED][-1]) if sizes else 0
    return {name: rows for name, rows in slices.items() if rows.sum() >= least}


def _by_content(survey: Survey) -> dict[str, dict[str, Rows]]:
    """Return the slices by what the prompt and the answers are, by property and name."""
    return {
        "answer length": _by_answer_length(survey),
        "prompt length": _by_prompt_length(survey),
        "turns": {"1": survey.turns <= 1, "2": survey.turns == 2, "3+": survey.turns >= 3},
        "language": _frequent(survey.language.tolist(), other="other") if survey.language.any() else {},
        "category": _frequent(survey.category.tolist(), other="other") if survey.category.any() else {},
        "code": {"with code": survey.code, "without": ~survey.code},
        "refusal": _by_refusal(survey),
    }


def _by_refusal(survey: Survey) -> dict[str, Rows]:
    """Return the battles by how many answers refuse; none at all if no answer does."""
    count = survey.refuses.sum(axis=1)
    return {"one answer": count == 1, "both answers": count == 2, "neither": count == 0} if count.any() else {}


def _by_answer_length(survey: Survey) -> dict[str, Rows]:
    a, b = survey.chars[:, 1], survey.chars[:, 2]
    a_much, a_longer = _times(a, b, MUCH_LONGER), _times(a, b, LONGER)
    b_much, b_longer = _times(b, a, MUCH_LONGER), _times(b, a, LONGER)
    return {
        f"A ≥ {MUCH_LONGER:g}× as long": a_much,
        f"A {LONGER:g}–{MUCH_LONGER:g}× as long": a_longer & ~a_much,
        "about equal": ~(a_longer | b_longer),
        f"B {LONGER:g}–{MUCH_LONGER:g}× as long": b_longer & ~b_much,
        f"B ≥ {MUCH_LONGER:g}× as long": b_much,
    }


def _by_both_bad(survey: Survey) -> dict[str, Rows]:
    is_tie = survey.winner == Winner.TIE
    return {"both bad": survey.both_bad, "other ties": is_tie & ~survey.both_bad, "decided": ~is_tie}


def _by_time(survey: Survey) -> dict[str, Rows]:
    """Return the battles by month, or by year if there are more than `MAX_PERIODS` months."""
    months = survey.month
    if len(set(months)) > MAX_PERIODS:
        months = np.array([month[:4] for month in months], dtype=object)
    periods = sorted(set(months) - {""})
    late = periods[-MAX_PERIODS:]
    rows: dict[str, Rows] = {period: months == period for period in late}
    if early := periods[:-MAX_PERIODS]:
        rows = {f"before {late[0]}": np.isin(months, early)} | rows
    return rows | {"unknown": months == ""}


def _by_group(survey: Survey) -> dict[str, Rows]:
    """Return the battles whose session, or other group, has several battles, and all others."""
    _, group, counts = np.unique(survey.group_hash, return_inverse=True, return_counts=True)
    with_others: Rows = (counts[group] > 1) & (survey.group_hash != 0)
    return {"in a group with others": with_others, "alone": ~with_others}


def _by_prompt_length(survey: Survey) -> dict[str, Rows]:
    chars, edges = survey.chars[:, 0], [0, *PROMPT_CHARS]
    found: dict[str, Rows] = {
        f"{edge:,}–{following - 1:,} characters": (chars >= edge) & (chars < following)
        for edge, following in pairwise(edges)
    }
    return found | {f"{edges[-1]:,}+ characters": chars >= edges[-1]}


def _times(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], count: float) -> Rows:
    """Return (n,) whether one text is at least `count` times as long as the other; 1 is added to both lengths."""
    longer: Rows = one + 1 >= count * (other + 1)
    return longer


def _frequent(names: Sequence[str], other: str) -> dict[str, Rows]:
    """Return name -> rows of the `MAX_NAMES` most frequent names, the most frequent first.

    The rows of all other names are under `other`, unless `other` is "".
    """
    counted = Counter(filter(None, names))
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    frequent = [name for name, count in ranked[:MAX_NAMES] if count >= MIN_BATTLES]
    array = np.array(names, dtype=object)
    rows: dict[str, Rows] = {name: array == name for name in frequent}
    if other:
        rest: Rows = ~np.isin(array, frequent)
        # A file may call a value "other" itself.
        rows[other] = rest | rows[other] if other in rows else rest
    return rows


def _pairs(survey: Survey) -> list[str]:
    """Return the two models of each battle, in alphabetical order; "" if one has no name."""
    sides = zip(survey.model_a.tolist(), survey.model_b.tolist(), strict=True)
    return [" / ".join(sorted(pair)) if all(pair) else "" for pair in sides]


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, tie = values.tolist()
    return a, b, tie
