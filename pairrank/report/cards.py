"""Battles to be read by a person: which ones, why, and how much of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.evaluation.survey import Survey
from pairrank.report.charts import OUTCOMES
from pairrank.report.judged_runs import Judged
from pairrank.report.page import Card, Said, Turn

LONGEST = 3_000
"""Characters of one turn that are shown; the whole text stands in the data."""
MOST_TURNS = 6
"""Turns that are shown: the first ones."""
EXCERPT = 110
"""Characters of a prompt that stand for a battle before it is opened."""
LONGEST_ID = 80


@dataclass(frozen=True)
class Reason:
    """Why a battle is shown."""

    kind: Literal["large loss", "disagreement"]
    runs: tuple[str, ...]
    """Of which runs."""
    size: float
    """The loss, or how far they are apart."""

    def __str__(self) -> str:
        return f"{self.kind}: {' / '.join(self.runs)} {self.size:.2f}"


def card(
    battles: Battles, survey: Survey, row: int, reasons: Sequence[Reason] = (), said: Sequence[Said] = ()
) -> Card:
    """One battle of a table and its survey, which go row by row together."""
    why: dict[str, list[str]] = {
        "Shown for": [reason.kind for reason in reasons],
        "Run": [run for r in reasons for run in r.runs],
    }
    texts = battles.prompt[row], battles.response_a[row], battles.response_b[row]
    count = max(map(len, texts))
    turns = [
        Turn(*(_shown(turns[i]) if i < len(turns) else "" for turns in texts))
        for i in range(min(count, MOST_TURNS))
    ]
    left = [f"{count - MOST_TURNS} more turns"] if count > MOST_TURNS else []
    if any(len(turn) > LONGEST for turns in texts for turn in turns[:MOST_TURNS]):
        left.append(f"what lies beyond {LONGEST:,} characters of a turn")
    winner = int(survey.winner[row])
    outcome = list(OUTCOMES)[winner] if winner >= 0 else "?"
    return Card(
        id=str(battles.id[row])[:LONGEST_ID],
        outcome=outcome,
        excerpt=_beginning(texts[0][0]),
        turns=tuple(turns),
        cut=f"Not shown: {' and '.join(left)}." if left else "",
        model_a=str(survey.model_a[row]),
        model_b=str(survey.model_b[row]),
        facets={
            "Outcome": [outcome],
            "Language": [str(survey.language[row])],
            "Code": ["with code" if survey.code[row] else "without code"],
            "Turns": ["one turn" if survey.turns[row] <= 1 else "several turns"],
            **{name: list(dict.fromkeys(values)) for name, values in why.items() if values},
        },
        reasons=tuple(map(str, reasons)),
        said=tuple(said),
    )


def worst_and_disputed(judged: Sequence[Judged], worst: int, disputed: int) -> dict[int, list[Reason]]:
    """Row of a battle -> why it is shown: each run's `worst` losses, the `disputed` battles they differ on most.

    How far two predictions are apart is their total variation distance: half the sum of absolute differences.
    """
    reasons: dict[int, list[Reason]] = {}
    for run in judged:
        for place in np.argsort(-run.losses, kind="stable")[:worst]:
            reason = Reason("large loss", (run.label,), float(run.losses[place]))
            reasons.setdefault(int(run.rows[place]), []).append(reason)
    apart = []
    for one, other in combinations(judged, 2):
        rows = np.intersect1d(one.rows, other.rows, assume_unique=True)
        first, second = one.shared_with(other)
        distance = np.abs(first - second).sum(axis=1) / 2
        for place in np.argsort(-distance, kind="stable")[:disputed]:
            if distance[place] > 0:
                apart.append((float(distance[place]), int(rows[place]), (one.label, other.label)))
    seen: set[int] = set()
    for distance, row, pair in sorted(apart, key=lambda found: (-found[0], found[1])):
        if row not in seen and len(seen) < disputed:
            seen.add(row)
            reasons.setdefault(row, []).append(Reason("disagreement", pair, distance))
    return reasons


def said_of(judged: Sequence[Judged], row: int) -> list[Said]:
    """What each run said of the battle at `row`, of those that predicted it."""
    found = []
    for run in judged:
        place = int(np.searchsorted(run.rows, row))
        if place < len(run.rows) and run.rows[place] == row:
            a, b, tie = run.proba[place].tolist()
            found.append(Said(run.label, (a, b, tie), float(run.losses[place])))
    return found


def _beginning(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * EXCERPT])
    return " ".join(printable.split())[:EXCERPT]


def _shown(turn: str) -> str:
    return turn if len(turn) <= LONGEST else turn[:LONGEST] + " …"
