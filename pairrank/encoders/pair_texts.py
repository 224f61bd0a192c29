"""An encoder reads a prompt with one answer, as its chat template writes them or as a plain pair of texts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from pairrank.data.battles import Battles
from pairrank.encoders.answer_tokens import TextRow, mark_answer
from pairrank.encoders.cached_batches import Text
from pairrank.encoders.chat import USE_PLAIN, Conversations, Template, cut_turns, keep_turns, uses_chat
from pairrank.encoders.side_windows import SideTexts
from pairrank.encoders.windows import (
    BLOCK,
    Budget,
    Round,
    TokenCoverage,
    Tokens,
    closing_tokens,
    cut_rounds,
    measure_coverage,
    special_token_wrapper,
    tokenise_turns,
)
from pairrank.errors import UserError

LEAST_PER_TURN = 4
"""Tokens of text for which a turn needs room in the window, so that prompt and answer are not lost."""


@dataclass(frozen=True)
class PlainLayout:
    """Writes a text, or a prompt and an answer as a sentence pair, between the tokenizer's special tokens."""

    wrap: Callable[..., Tokens]
    special: int
    """Number of special tokens that `wrap` adds."""

    separator: ClassVar[str] = "\n"
    """The text between two turns."""

    def row(self, rounds: Sequence[Round], window: int, budget: Budget) -> tuple[Tokens, tuple[int, ...]]:
        """Return the tokens of the texts, at most `window`, and how many of them are of each.

        `rounds` has the tokens of all texts in each turn. Raises UserError if the window has no room.
        """
        if window < self.special + 2:
            raise UserError(
                f"max_tokens = {window}: the window has no room for a text. Set it to {self.special + 2} or more."
            )
        texts = cut_rounds(rounds, window - self.special, budget)
        return self.wrap(*texts), tuple(map(len, texts))


@dataclass(frozen=True)
class ChatLayout:
    """Writes prompt and answer as the conversation that a chat template describes.

    The template's own text and the texts of the battle are tokenised apart, the latter without special tokens.
    Without cuts the tokens are those of the rendered template, except that a tokenizer which merges tokens across
    their border, or which begins each text with a space, may split there.
    """

    chat: Conversations
    closing: Tokens = field(default_factory=lambda: np.array([], dtype=np.int32))
    """Tokens after an answer that the template does not end."""

    separator: ClassVar[str] = ""
    """The template separates turns itself."""

    def row(self, rounds: Sequence[Round], window: int, budget: Budget) -> tuple[Tokens, tuple[int, ...]]:
        """Return the tokens of a conversation, at most `window`, and how many are of the prompt and of the answer.

        `rounds` has the tokens of prompt and answer of each turn. A turn without room in the window is left out:
        the oldest with the budget "latest", else the newest. Raises UserError if no turn has room.
        """
        rounds = self._fitting(rounds, window, budget)
        room = window - self._overhead(len(rounds))
        texts = [text for cut, _ in cut_turns(rounds, room, budget) for text in cut]
        around = self._around(len(texts) // 2)
        row = np.concatenate([part for pair in zip(around, texts, strict=False) for part in pair] + [around[-1]])
        return row, (sum(map(len, texts[::2])), sum(map(len, texts[1::2])))

    def _fitting(self, rounds: Sequence[Round], window: int, budget: Budget) -> Sequence[Round]:
        """Return the turns that the window has room for."""
        for count in range(len(rounds), 0, -1):
            needed = self._overhead(count) + LEAST_PER_TURN * count
            if needed <= window:
                return keep_turns(rounds, count, budget)
        raise UserError(
            f"max_tokens = {window}: the window has no room for the chat template and a text. "
            f"Set it to {needed} or more."
        )

    def _overhead(self, turns: int) -> int:
        """Return the number of tokens of the template in a conversation of so many turns."""
        return sum(map(len, self._around(turns)))

    def _around(self, turns: int) -> tuple[Tokens, ...]:
        """Return the tokens before, between and after the texts of so many turns."""
        *before, end = self.chat.around(turns)
        return *before, end if len(end) else self.closing


PairLayout = PlainLayout | ChatLayout


def plain_layout(encoder: Any, parts: int = 2) -> PlainLayout:
    """Return the layout of one text or of two, for an encoder with a tokenizer and the attribute `closed`."""
    return PlainLayout(*special_token_wrapper(encoder.tokenizer, parts, encoder.closed))


def choose_layout(template: Template, encoder: Any) -> PairLayout:
    """Return the layout of a prompt with an answer; raises UserError for "chat" without a chat template.

    An encoder that was pretrained for its head (`has_head`) reads a chat exactly as its template writes it. For
    another one whose last token is read, a chat ends with the same token whatever its template does.
    """
    if not uses_chat(encoder.tokenizer, template):
        return plain_layout(encoder)
    chat = Conversations(encoder.tokenizer, USE_PLAIN)
    if encoder.closed and not encoder.has_head:
        return ChatLayout(chat, closing_tokens(encoder.tokenizer))
    return ChatLayout(chat)


def iterate_rows(
    texts: Sequence[Text],
    tokenizer: Any,
    layout: PairLayout,
    window: int,
    budget: Budget,
    marked: bool = False,
) -> Iterator[tuple[TextRow, tuple[int, ...], tuple[int, ...]]]:
    """Yield for each text, or prompt with an answer, its row of tokens, at most `window` long, and two tuples.

    These are the numbers of tokens of each part in the row, and those before anything was cut. With `marked`, each
    text is a prompt with an answer, whose tokens are marked.
    """
    for start in range(0, len(texts), BLOCK):
        for rounds in tokenise_turns(texts[start : start + BLOCK], tokenizer, layout.separator):
            lengths = tuple(sum(map(len, part)) for part in zip(*rounds, strict=True))
            tokens, kept = layout.row(rounds, window, budget)
            row = mark_answer(lambda hidden: layout.row(hidden, window, budget)[0], rounds) if marked else tokens
            yield row, kept, lengths


def paired_sides(
    battles: Battles, encoder: Any, window: int, budget: Budget, template: Template = "auto"
) -> tuple[list[SideTexts], TokenCoverage]:
    """Return both sides of each battle, a prompt with an answer each, and how many tokens were kept.

    `encoder` is a `TextEncoder` or a `RewardModel`; answers are marked if it pools them. Raises UserError as
    `choose_layout` and the layouts do.
    """
    texts = [
        text
        for battle in zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
        for text in ((battle[0], battle[1]), (battle[0], battle[2]))
    ]
    layout = choose_layout(template, encoder)
    sides = iterate_rows(texts, encoder.tokenizer, layout, window, budget, encoder.pools_answer)
    rows = []
    kept, lengths = np.zeros((len(battles), 3), dtype=int), np.zeros((len(battles), 3), dtype=int)
    for i, ((a, kept_a, all_a), (b, kept_b, all_b)) in enumerate(zip(sides, sides, strict=True)):
        # The prompt may be cut differently on the two sides: the shorter copy counts.
        kept[i] = min(kept_a[0], kept_b[0]), kept_a[1], kept_b[1]
        lengths[i] = all_a[0], all_a[1], all_b[1]
        log_a, log_b = np.log1p(lengths[i, 1:]).tolist()
        rows.append(SideTexts(a, b, np.array([], dtype=np.int32), (log_a, log_b)))
    return rows, measure_coverage(kept, lengths)
