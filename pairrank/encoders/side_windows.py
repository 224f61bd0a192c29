"""A siamese encoder reads each answer after its prompt, or the three texts apart, each cut to its own window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pairrank.data.battles import Battles
from pairrank.encoders.answer_tokens import TextRow, mark_answer
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
""""pair": prompt and answer of each side as one sentence pair. "apart": each answer alone and the prompt once."""
Share = Literal["side", "battle"]
""""side": each side has its own window. "battle": tokens that one side leaves unused go to the other."""


@dataclass(frozen=True, slots=True)
class SideTexts:
    """The token ids of one battle for a siamese encoder; `len` is the length of the longer side."""

    a: TextRow
    b: TextRow
    prompt: Tokens
    """The prompt alone; empty in the layout "pair", where each side contains it."""
    lengths: tuple[float, float]
    """log(1 + tokens) of answers A and B before anything was cut."""
    offsets: tuple[tuple[float, float], ...] = ()
    """Margin and tie logit of each prediction that is known before the texts are read."""

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def tobytes(self) -> bytes:
        """Return the bytes that identify this battle's texts; rows with equal bytes are encoded once."""
        texts = b"".join(text.tobytes() + len(text).to_bytes(4) for text in (self.a, self.b, self.prompt))
        return texts + np.array(self.lengths).tobytes() + np.array(self.offsets).tobytes()


def side_texts(
    battles: Battles,
    tokenizer: Any,
    window: int,
    layout: Layout = "pair",
    budget: Budget = "fair",
    share: Share = "side",
    max_side: int | None = None,
    closed: bool = False,
    marked: bool = False,
) -> tuple[list[SideTexts], TokenCoverage]:
    """Return the texts of each battle, special tokens included, and how many tokens were kept.

    A text has at most `window` tokens. With `share="battle"` the two sides together have 2 `window` tokens, and one
    side at most `max_side` (by default both windows). `closed` is that of `special_token_wrapper`. With `marked`,
    which is for the layout "pair" alone, the tokens of the answers are marked. Raises UserError if a window has no
    room for a text, and for the budget "right".
    """
    if budget == "right":
        raise UserError('budget = "right": only the published template is cut on the right. Set budget to "fair".')
    wrap, special = special_token_wrapper(tokenizer, 2 if layout == "pair" else 1, closed)
    wrap_one, special_one = special_token_wrapper(tokenizer, 1, closed)
    room = window - special
    if room < 2:
        raise UserError(f"a window of {window} tokens has no room for a text. Set it to {special + 2} or more.")
    rows = []
    kept, lengths = np.zeros((len(battles), 3), dtype=int), np.zeros((len(battles), 3), dtype=int)
    for i, rounds in enumerate(iterate_rounds(battles, tokenizer)):
        lengths[i] = [sum(len(turn[part]) for turn in rounds) for part in range(3)]
        sides: list[list[Round]] = [
            [(turn[0], turn[side]) if layout == "pair" else (turn[side],) for turn in rounds] for side in (1, 2)
        ]
        granted = (room, room) if share == "side" else _share_windows(sides, room)
        most = (max_side or 2 * window) - special if share == "battle" else room
        cut = [cut_rounds(side, min(size, most), budget) for side, size in zip(sides, granted, strict=True)]
        prompt = np.array([], dtype=np.int32)
        if layout == "apart":
            (prompt,) = cut_rounds([(turn[0],) for turn in rounds], window - special_one, budget)
            kept[i, 0], prompt = len(prompt), wrap_one(prompt)
        else:
            # The prompt may be cut differently on the two sides: the shorter copy counts.
            kept[i, 0] = min(len(side[0]) for side in cut)
        kept[i, 1:] = [len(side[-1]) for side in cut]
        a, b = (mark_answer(lambda one: wrap(*one[0]), [side]) if marked else wrap(*side) for side in cut)
        rows.append(SideTexts(a, b, prompt, _log_lengths(lengths[i, 1:])))
    return rows, measure_coverage(kept, lengths)


def _share_windows(sides: Sequence[Sequence[Round]], room: int) -> tuple[int, ...]:
    """Return the tokens of text for each side of a battle if the sides share two windows of `room` tokens."""
    wanted = [sum(len(part) for turn in side for part in turn) for side in sides]
    return fair_shares(wanted, 2 * room, (1, 1))


def _log_lengths(tokens: Any) -> tuple[float, float]:
    a, b = np.log1p(tokens).tolist()
    return a, b
