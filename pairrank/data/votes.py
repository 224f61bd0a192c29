"""How votes are used: each by itself or together, "both bad" at a lower weight, a graded one as a soft winner."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles, Winner
from pairrank.data.probabilities import SWAP
from pairrank.errors import UserError

Aggregation = Literal["each", "majority", "soft"]
"""What becomes of several votes on one pair of answers: each stays a battle, or they become one with the winner of
most votes, or with the shares of votes as soft winner.
"""

TIE_SHARE = 2 / 3
"""Share of a tie in what a graded preference takes from its winner; the rest goes to the other answer."""


@dataclass(frozen=True)
class VoteSettings:
    """How the votes of a file are used."""

    votes: Aggregation = "each"
    both_bad: float = 1.0
    """Weight in training of a vote that called both answers bad; 0 leaves such battles out."""
    graded: bool = False
    """Whether a graded preference becomes a soft winner, by `soften`."""

    def __post_init__(self) -> None:
        if self.votes not in ("each", "majority", "soft"):
            raise UserError(f"votes = {self.votes!r}: expected each, majority or soft.")
        if not 0 <= self.both_bad <= 1:
            raise UserError(f"both_bad = {self.both_bad}: expected a weight from 0 to 1.")


def apply_votes(battles: Battles, settings: VoteSettings) -> Battles:
    """Return the battles with their votes aggregated and weighted; they must have winners."""
    bad = battles.both_bad
    if bad is not None and settings.both_bad == 0:
        battles = battles.take(~bad)
    elif bad is not None and settings.both_bad < 1:
        battles = replace(battles, weight=np.where(bad, settings.both_bad, 1.0) * battles.weights)
    if settings.graded:
        battles = soften(battles)
    return battles if settings.votes == "each" else aggregate(battles, settings.votes)


def soften(battles: Battles) -> Battles:
    """Return the battles with soft winners (n, 3) that their strengths give.

    A winner of strength s, from 0 to 1, has probability (1 + s) / 2. Of the rest, `TIE_SHARE` goes to a tie. So the
    weakest preference has a probability just above one half, and the strongest is certain. The rule is our own.
    Ties, and winners of unknown strength, keep the soft winner they have, or else their winner. Battles without
    strengths are returned as they are. Raises UserError for a strength that contradicts its winner.
    """
    if battles.strength is None:
        return battles
    hard = np.eye(3)[battles.labels]
    expected = hard[:, Winner.A] - hard[:, Winner.B]
    if wrong := int((battles.strength * expected < 0).sum()):
        raise UserError(f"{wrong:,} battles have a strength that contradicts their winner. Correct them.")
    certain = (1 + np.abs(battles.strength)) / 2
    tie = TIE_SHARE * (1 - certain)
    spread = certain[:, None] * hard + (1 - certain - tie)[:, None] * hard[:, SWAP]
    spread[:, Winner.TIE] = tie
    is_graded = (battles.strength != 0) & (expected != 0)
    known = hard if battles.soft is None else battles.soft
    return replace(battles, soft=np.where(is_graded[:, None], spread, known))


def aggregate(battles: Battles, votes: Aggregation) -> Battles:
    """Return one battle for each pair of answers to a prompt, on the sides of its first vote.

    Votes on the same answers with sides exchanged count as well. The winner is that of most votes, each counted by
    its weight; if two outcomes have equally many, it is a tie. With "soft", the shares of the votes become soft
    winners. If votes have soft winners already, their weighted mean is used instead. Columns that differ between
    votes, such as judge and time, are those of the first vote. The weight is the mean of the votes, and the
    strength that of the votes for the winner. `both_bad` is that of most votes, and false unless the winner is a
    tie.
    """
    turned = battles.swap()
    first: dict[tuple[Any, ...], int] = {}
    places = np.empty(len(battles), dtype=np.int64)
    is_turned = np.zeros(len(battles), dtype=bool)
    rows: list[int] = []
    for row, texts in enumerate(zip(battles.prompt, battles.response_a, battles.response_b, strict=True)):
        prompt, a, b = texts
        if (prompt, b, a) in first and a != b:
            is_turned[row] = True
            places[row] = first[prompt, b, a]
        else:
            places[row] = first.setdefault((prompt, a, b), len(rows))
            if places[row] == len(rows):
                rows.append(row)
    labels = np.where(is_turned, turned.labels, battles.labels)
    counts = np.zeros((len(rows), 3))
    np.add.at(counts, (places, labels), battles.weights)
    soft = counts / counts.sum(axis=1, keepdims=True) if votes == "soft" else None
    if battles.soft is not None and turned.soft is not None:
        shares = np.where(is_turned[:, None], turned.soft, battles.soft)
        weights = battles.weights if votes == "soft" else None
        soft = np.stack([_mean(share, places, len(rows), weights) for share in shares.T], axis=1)
    winner = _majority(counts)
    agrees = labels == winner[places]
    kept = battles.take(np.array(rows, dtype=np.int64))
    return replace(
        kept,
        winner=winner,
        soft=soft,
        weight=None if battles.weight is None else _mean(battles.weight, places, len(rows)),
        both_bad=None
        if battles.both_bad is None
        else (_mean(battles.both_bad, places, len(rows)) > 0.5) & (winner == Winner.TIE),
        strength=None
        if battles.strength is None or turned.strength is None
        else np.where(
            winner == Winner.TIE,
            0.0,
            _mean(np.where(is_turned, turned.strength, battles.strength), places, len(rows), agrees),
        ),
    )


def _majority(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the outcome with the most votes in each row; a tie if two outcomes have equally many."""
    # Weights are added up, so that equal sums may differ in their last digits.
    is_clear = (counts >= counts.max(axis=1, keepdims=True) - 1e-9).sum(axis=1) == 1
    winner: npt.NDArray[np.int64] = np.where(is_clear, counts.argmax(axis=1), Winner.TIE)
    return winner


def _mean(
    values: npt.NDArray[Any], places: npt.NDArray[np.int64], n: int, weights: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.float64]:
    """Return the mean of the values at each of n places; 0 where all weights are 0."""
    weights = np.ones(len(values)) if weights is None else weights
    total = np.bincount(places, values.astype(np.float64) * weights, minlength=n)
    count = np.bincount(places, weights, minlength=n)
    return np.divide(total, count, out=np.zeros(n), where=count > 0)
