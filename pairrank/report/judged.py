"""An entry beside the battles it predicted: rows, probabilities, winners, losses."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.battles import Battles
from pairrank.entries import Entry
from pairrank.leaderboard import untouched
from pairrank.predictions import Proba, normalise
from pairrank.scoring import Labels, battle_losses, log_loss


@dataclass(frozen=True, eq=False)
class Judged:
    """m predictions of one entry, none of a battle that a search for its setting has seen."""

    label: str
    metrics: dict[str, Any]
    rows: npt.NDArray[np.int64]
    """(m,) where its battles stand among all, in rising order."""
    proba: Proba
    """(m, 3)."""
    winner: Labels
    """(m,)."""

    @cached_property
    def losses(self) -> Proba:
        """(m,)."""
        return battle_losses(self.proba, self.winner)

    @property
    def log_loss(self) -> float:
        """Their mean."""
        return log_loss(self.proba, self.winner)

    def shared_with(self, other: "Judged") -> tuple[Proba, Proba]:
        """Two (k, 3) arrays: what both say of the battles that both predicted."""
        _, here, there = np.intersect1d(self.rows, other.rows, assume_unique=True, return_indices=True)
        return self.proba[here], other.proba[there]


def judge(entry: Entry, battles: Battles) -> Judged:
    """Put an entry's predictions beside their battles; every id must be one of theirs."""
    kept = untouched(entry, battles).predictions
    place = {name: row for row, name in enumerate(battles.id.tolist())}
    rows = np.array([place[name] for name in kept.id.tolist()], dtype=np.int64)
    order = np.argsort(rows)
    rows = rows[order]
    return Judged(entry.label, entry.metrics, rows, normalise(kept.proba[order]), battles.labels[rows])
