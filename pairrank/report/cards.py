"""The battles that a person reads: their choice, the reason for each, and the part of its text that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.turns import Turns
from pairrank.evaluation.survey import Survey
from pairrank.report.charts import OUTCOMES
from pairrank.report.page import BattlePrediction, Card, Turn
from pairrank.report.scored_runs import ScoredRun

MAX_CHARS = 3_000
"""Characters of one turn that are shown."""
MAX_TURNS = 6
"""Turns that are shown: the first ones."""
EXCERPT_CHARS = 110
"""Characters of the prompt in the summary line of a battle."""
MAX_ID_CHARS = 80


@dataclass(frozen=True)
class Reason:
    """The reason why a battle is shown."""

    kind: Literal["large loss", "disagreement", "gained", "lost"]
    runs: tuple[str, ...]
    """Labels of the run with the large loss, or of the two runs that disagree or are compared."""
    size: float
    """The loss or its change in nats, or the total variation distance of the two predictions."""

    def __str__(self) -> str:
        return f"{self.kind}: {' / '.join(self.runs)} {self.size:.2f}"


def card(
    battles: Battles,
    survey: Survey,
    row: int,
    reasons: Sequence[Reason] = (),
    predictions: Sequence[BattlePrediction] = (),
) -> Card:
    """Return the card of the battle at `row`; `survey` is that of `battles`, row by row."""
    texts = battles.prompt[row], battles.response_a[row], battles.response_b[row]
    turns, cut = _shortened(texts)
    winner = int(survey.winner[row])
    outcome = list(OUTCOMES)[winner] if winner >= 0 else "?"
    facets = {
        "Outcome": [outcome],
        "Language": [str(survey.language[row])],
        "Code": ["with code" if survey.code[row] else "without code"],
        "Turns": ["one turn" if survey.turns[row] <= 1 else "several turns"],
    }
    if reasons:
        facets["Shown for"] = list(dict.fromkeys(reason.kind for reason in reasons))
        facets["Run"] = list(dict.fromkeys(run for reason in reasons for run in reason.runs))
    return Card(
        id=str(battles.id[row])[:MAX_ID_CHARS],
        outcome=outcome,
        excerpt=text_excerpt(texts[0][0]),
        turns=turns,
        cut=cut,
        model_a=str(survey.model_a[row]),
        model_b=str(survey.model_b[row]),
        facets=facets,
        reasons=tuple(map(str, reasons)),
        predictions=tuple(predictions),
    )


def worst_and_disputed(runs: Sequence[ScoredRun], worst: int, disputed: int) -> dict[int, list[Reason]]:
    """Return the battles to show, as row -> reasons.

    These are the `worst` battles with the largest loss of each run, and the `disputed` battles with the largest
    total variation distance (half the sum of absolute differences) between the predictions of any two runs.
    """
    reasons: dict[int, list[Reason]] = {}
    for run in runs:
        for index in np.argsort(-run.losses, kind="stable")[:worst]:
            reason = Reason("large loss", (run.label,), float(run.losses[index]))
            reasons.setdefault(int(run.rows[index]), []).append(reason)
    chosen: set[int] = set()
    for distance, row, pair in sorted(_distances(runs, disputed), key=lambda found: (-found[0], found[1])):
        if row not in chosen and len(chosen) < disputed:
            chosen.add(row)
            reasons.setdefault(row, []).append(Reason("disagreement", pair, distance))
    return reasons


def predictions_for(runs: Sequence[ScoredRun], row: int) -> list[BattlePrediction]:
    """Return the predictions for the battle at `row`, of those runs that predicted it."""
    found = []
    for run in runs:
        index = int(np.searchsorted(run.rows, row))
        if index < len(run.rows) and run.rows[index] == row:
            a, b, tie = run.proba[index].tolist()
            found.append(BattlePrediction(run.label, (a, b, tie), float(run.losses[index])))
    return found


def _distances(runs: Sequence[ScoredRun], count: int) -> list[tuple[float, int, tuple[str, str]]]:
    """Return distance, row and labels of the `count` most disputed battles of each pair of runs."""
    found = []
    for one, other in combinations(runs, 2):
        rows = np.intersect1d(one.rows, other.rows, assume_unique=True)
        first, second = one.shared_with(other)
        distance = np.abs(first - second).sum(axis=1) / 2
        for index in np.argsort(-distance, kind="stable")[:count]:
            if distance[index] > 0:
                found.append((float(distance[index]), int(rows[index]), (one.label, other.label)))
    return found


def _shortened(texts: tuple[Turns, Turns, Turns]) -> tuple[tuple[Turn, ...], str]:
    """Return the turns that are shown, and a sentence about what is not ("" if all is shown)."""
    count = max(map(len, texts))
    turns = tuple(
        Turn(*(_shorten(turns[i]) if i < len(turns) else "" for turns in texts))
        for i in range(min(count, MAX_TURNS))
    )
    omitted = [f"{count - MAX_TURNS} more turns"] if count > MAX_TURNS else []
    if any(len(turn) > MAX_CHARS for turns in texts for turn in turns[:MAX_TURNS]):
        omitted.append(f"text beyond the first {MAX_CHARS:,} characters of a turn")
    return turns, f"Not shown: {' and '.join(omitted)}." if omitted else ""


def text_excerpt(text: str) -> str:
    """Return the beginning of a text on one line, without characters that are not printable."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * EXCERPT_CHARS])
    return " ".join(printable.split())[:EXCERPT_CHARS]


def _shorten(turn: str) -> str:
    return turn if len(turn) <= MAX_CHARS else turn[:MAX_CHARS] + " …"
