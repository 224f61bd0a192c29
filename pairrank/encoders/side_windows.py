"""The texts of a siamese encoder: each answer behind its prompt, or the three apart; none is cut for another."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.encoders.windows import (
    Budget,
    Round,
    TokenCoverage,
    Tokens,
    cut_rounds,
    fair_shares,
    iterate_rounds,
    measure_coverage,
    special_token_wrapper,
)
from pairrank.errors import UserError

Layout = Literal["pair", "apart"]
"""Prompt and answer as one sentence pair a side; or each answer alone, and the prompt once."""
Share = Literal["side", "battle"]
"""Whether each side has a window of its own, or what one leaves of its window goes to the other."""


@dataclass(frozen=True, slots=True)
class SideTexts:
    """One battle as a siamese encoder reads it; its length is that of the longer side."""

    a: Tokens
    b: Tokens
    prompt: Tokens
    """The prompt alone; empty where it stands before each answer."""
    lengths: tuple[float, float]
    """log(1 + tokens) of both answers, uncut."""

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def tobytes(self) -> bytes:
        """What tells it from other battles."""
        texts = b"".join(text.tobytes() + len(text).to_bytes(4) for text in (self.a, self.b, self.prompt))
        return texts + np.array(self.lengths).tobytes()


def side_texts(
    battles: Battles,
    tokenizer: Any,
    window: int,
    layout: Layout = "pair",
    budget: Budget = "fair",
    share: Share = "side",
    most: int | None = None,
) -> tuple[list[SideTexts], TokenCoverage]:
    """The texts of each battle, special tokens included, and how much of them was kept.

    A text has at most `window` tokens; with `share="battle"` the two sides together have two windows, and one of
    them up to `most` tokens. Raises UserError if a window cannot hold a text, or for the budget "right".
    """
    if budget == "right":
        raise UserError('budget = "right": only the published template is cut on the right. Take "fair".')
    wrap, marks = special_token_wrapper(tokenizer, 2 if layout == "pair" else 1)
    alone, marks_alone = special_token_wrapper(tokenizer, 1)
    room = window - marks
    if room < 2:
        raise UserError(f"a window of {window} tokens has no room for a text: it takes {marks + 2} or more.")
    rows = []
    kept, lengths = np.zeros((len(battles), 3), dtype=int), np.zeros((len(battles), 3), dtype=int)
    for i, rounds in enumerate(iterate_rounds(battles, tokenizer)):
        lengths[i] = [sum(len(turn[part]) for turn in rounds) for part in range(3)]
        sides: list[list[Round]] = [
            [(turn[0], turn[side]) if layout == "pair" else (turn[side],) for turn in rounds] for side in (1, 2)
        ]
        windows: tuple[int, ...] = (room, room)
        if share == "battle":
            wanted = [sum(len(part) for turn in side for part in turn) for side in sides]
            granted = fair_shares(wanted, 2 * room, (1, 1))
            windows = tuple(min(grant, (most or 2 * window) - marks) for grant in granted)
        cut = [cut_rounds(side, size, budget) for side, size in zip(sides, windows, strict=True)]
        prompt = np.array([], dtype=np.int32)
        if layout == "apart":
            (prompt,) = cut_rounds([(turn[0],) for turn in rounds], window - marks_alone, budget)
            kept[i, 0], prompt = len(prompt), alone(prompt)
        else:
            # The same prompt may be cut differently on the two sides: what counts is the poorer copy.
            kept[i, 0] = min(len(side[0]) for side in cut)
        kept[i, 1:] = [len(side[-1]) for side in cut]
        rows.append(SideTexts(wrap(*cut[0]), wrap(*cut[1]), prompt, _log_lengths(lengths[i, 1:])))
    return rows, measure_coverage(kept, lengths)


def _log_lengths(tokens: Any) -> tuple[float, float]:
    a, b = np.log1p(tokens).tolist()
    return a, b
