"""Where a model is good and where it is bad: its log loss on battles that are alike in one way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Winner
from pairrank.data.probabilities import Labels, Proba, normalise
from pairrank.evaluation.scoring import Mean, battle_losses, clustered_mean
from pairrank.evaluation.survey import Survey

Rows = npt.NDArray[np.bool_]

MUCH, SOMEWHAT = 2.0, 1.25
"""How many times as long as the other an answer is that counts as much, or somewhat, longer."""
PROMPT_CHARS = (100, 500, 2_000)
"""Where prompts are cut into short, middling, long and very long ones."""
SMALLEST = 10
"""Battles of a language or a pair of models from which it is shown by itself."""
MOST_PAIRS = 10
"""Pairs of models, those with the most battles."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Battles that are alike in one way."""

    by: str
    """In which: "turns"."""
    name: str
    """How: "2"."""
    rows: Rows
    """(n,) which of all battles."""


@dataclass(frozen=True)
class SliceScore:
    """How one model did on a slice."""

    by: str
    name: str
    log_loss: Mean
    """With the 95 % interval over prompts; `battles` says how many it is of."""
    came: tuple[float, float, float]
    """Shares of A, B and tie among these battles."""
    said: tuple[float, float, float]
    """Mean probabilities of A, B and tie."""


@dataclass(frozen=True)
class Bias:
    """One tendency of a model against that of the voters."""

    name: str
    came: float
    """What the voters did: mean of 1 for, -1 against, 0 for a tie."""
    said: float
    """What the model expected of them: mean of P(for) - P(against)."""
    excess: Mean
    """The model's less the voters', paired; below 0 it favours less than they do, as a cautious model does."""


def slices_of(survey: Survey, proba: Proba, window: tuple[str, Rows] | None = None) -> list[Slice]:
    """Every slice with a battle in it; `window` names one, and which battles were cut to fit it.

    All but "said P(tie)" look at the battles alone.
    """
    a, b = survey.chars[:, 1], survey.chars[:, 2]
    a_much, a_longer = _times(a, b, MUCH), _times(a, b, SOMEWHAT)
    b_much, b_longer = _times(b, a, MUCH), _times(b, a, SOMEWHAT)
    prompts = survey.chars[:, 0]
    edges = [0, *PROMPT_CHARS]
    tie = normalise(proba)[:, Winner.TIE]
    low, high = np.quantile(tie, [1 / 3, 2 / 3])
    named: dict[str, dict[str, Rows]] = {
        "answer length": {
            f"A ≥ {MUCH:g}× as long": a_much,
            f"A {SOMEWHAT:g}–{MUCH:g}× as long": a_longer & ~a_much,
            "about equal": ~(a_longer | b_longer),
            f"B {SOMEWHAT:g}–{MUCH:g}× as long": b_longer & ~b_much,
            f"B ≥ {MUCH:g}× as long": b_much,
        },
        "prompt length": {
            f"{edge:,}–{following - 1:,} characters": (prompts >= edge) & (prompts < following)
            for edge, following in pairwise(edges)
        }
        | {f"{edges[-1]:,}+ characters": prompts >= edges[-1]},
        "turns": {"1": survey.turns <= 1, "2": survey.turns == 2, "3+": survey.turns >= 3},
        "language": _common(survey.language.tolist(), other="other") if survey.language.any() else {},
        "code": {"with code": survey.code, "without": ~survey.code},
        "window": {} if window is None else {f"cut to {window[0]}": window[1], "whole": ~window[1]},
        "said P(tie)": {
            f"below {low:.2f}": tie < low,
            f"{low:.2f} to {high:.2f}": (tie >= low) & (tie <= high),
            f"above {high:.2f}": tie > high,
        },
        "models": dict(list(_common(_pairs(survey), other="").items())[:MOST_PAIRS]),
    }
    return [Slice(by, name, rows) for by, some in named.items() for name, rows in some.items() if rows.any()]


def score_slices(
    slices: Sequence[Slice], proba: Proba, winner: Labels, keys: npt.NDArray[np.uint64]
) -> list[SliceScore]:
    """How (n, 3) probabilities did on each slice of n battles."""
    losses, sure = battle_losses(proba, winner), normalise(proba)
    return [
        SliceScore(
            each.by,
            each.name,
            clustered_mean(losses[each.rows], keys[each.rows]),
            _triple(np.eye(3)[winner[each.rows]].mean(axis=0)),
            _triple(sure[each.rows].mean(axis=0)),
        )
        for each in slices
    ]


def biases(survey: Survey, proba: Proba, winner: Labels) -> list[Bias]:
    """Whether the model favours the first answer, or the longer one, more than the voters did."""
    a, b = survey.chars[:, 1], survey.chars[:, 2]
    sides = {
        "first answer (A)": np.ones(len(winner)),
        "longer answer": np.sign(a - b),
        f"answer {MUCH:g} times as long, or more": _times(a, b, MUCH) * 1.0 - _times(b, a, MUCH),
    }
    found = []
    for name, side in sides.items():
        rows = side != 0
        if not rows.any():
            continue
        came = side * np.array([1.0, -1.0, 0.0])[winner]
        said = side * (normalise(proba) @ [1.0, -1.0, 0.0])
        excess = clustered_mean((said - came)[rows], survey.key[rows])
        found.append(Bias(name, float(came[rows].mean()), float(said[rows].mean()), excess))
    return found


def _times(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32], count: float) -> Rows:
    """(n,) whether one text is `count` times as long as the other, an empty one counting as one character."""
    longer: Rows = one + 1 >= count * (other + 1)
    return longer


def _common(names: Sequence[str], other: str) -> dict[str, Rows]:
    """Rows of each name that occurs often, the commonest first; of all others under `other`, unless that is ""."""
    counted = Counter(filter(None, names))
    often = [name for name, count in sorted(counted.items(), key=lambda c: (-c[1], c[0])) if count >= SMALLEST]
    array = np.array(names, dtype=object)
    rows: dict[str, Rows] = {name: array == name for name in often}
    if other:
        rows[other] = ~np.isin(array, often)
    return rows


def _pairs(survey: Survey) -> list[str]:
    """Which two models fought, in alphabetical order; "" where one has no name."""
    sides = zip(survey.model_a.tolist(), survey.model_b.tolist(), strict=True)
    return [" / ".join(sorted(pair)) if all(pair) else "" for pair in sides]


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, tie = values.tolist()
    return a, b, tie
