"""A conversation is laid out by the tokenizer's chat template, and no text of a battle becomes a control token."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.encoders.windows import Budget, Round, Tokens, cut_rounds, encode
from pairrank.errors import UserError

UNSCORED, PROMPT, ANSWER = 0, 1, 2
"""Kinds of tokens: of the layout or of a later prompt turn, of the first prompt turn, of the answer."""

DATE = "26 Jul 2024"
"""The date that a template writes if it asks for today's, so that results do not depend on the day."""

FIXED_CLOCK = "{% macro strftime_now(format) %}" + DATE + "{% endmacro %}"
"""Beginning of a template that asks for the time: its own function replaces the one of transformers."""


@dataclass(frozen=True, slots=True)
class ScoredTokens:
    """The tokens of a conversation, and which of them are scored."""

    tokens: Tokens
    kinds: npt.NDArray[np.int8]
    """(length,) `UNSCORED`, `PROMPT` or `ANSWER`; an answer includes the token that ends each whole turn of it."""

    def __len__(self) -> int:
        return len(self.tokens)

    def tobytes(self) -> bytes:
        """Return the bytes that identify this row; rows with equal bytes are computed once."""
        return self.tokens.tobytes() + self.kinds.tobytes()


@dataclass(frozen=True)
class ChatLayout:
    """Lays out conversations of a prompt and an answer for a causal language model."""

    tokenizer: Any
    max_tokens: int
    """Tokens of a row at most."""
    budget: Budget = "fair"
    """What is kept of texts that do not fit: see `windows.cut_rounds`."""

    def row(self, rounds: Sequence[Round]) -> ScoredTokens:
        """Return the row of a conversation, whose rounds are the tokens of (prompt turn, answer turn).

        Turns that lose all their tokens are left out. If the layout of many rounds would take more than half of
        the window, the latest rounds are left out, or the oldest with the budget "latest". Raises UserError if the
        window has no room for a text.
        """
        while len(rounds) > 1 and self._overhead(len(rounds)) > self.max_tokens // 2:
            rounds = rounds[1:] if self.budget == "latest" else rounds[:-1]
        room = self.max_tokens - self._overhead(len(rounds))
        if room < 2:
            least = self.max_tokens - room + 2
            raise UserError(
                f"max_tokens = {self.max_tokens}: the window has no room for a text. Set it to {least} or more."
            )
        kept = _cut(rounds, room, self.budget)
        chosen = [i for i, turns in enumerate(kept) if any(map(len, turns))] or [0]
        pieces = _pieces(self.tokenizer, len(chosen))
        parts, kinds = [pieces[0]], [UNSCORED]
        for place, i in enumerate(chosen):
            prompt, answer = kept[i]
            between, after = pieces[2 * place + 1 : 2 * place + 3]
            # A turn that was cut has no end that could be scored.
            end = int(len(answer) == len(rounds[i][1]))
            parts += [prompt, between, answer, after[:end], after[end:]]
            kinds += [UNSCORED if place else PROMPT, UNSCORED, ANSWER, ANSWER, UNSCORED]
        every = [np.full(len(part), kind, dtype=np.int8) for part, kind in zip(parts, kinds, strict=True)]
        return ScoredTokens(np.concatenate(parts), np.concatenate(every))

    def _overhead(self, rounds: int) -> int:
        """Return the number of tokens that the layout of so many rounds adds to their texts."""
        return sum(map(len, _pieces(self.tokenizer, rounds)))


def _cut(rounds: Sequence[Round], room: int, budget: Budget) -> list[Round]:
    """Return the rounds without the tokens that do not fit `room`; each token stays in its round."""
    ends = np.cumsum([[0, 0], *([len(part) for part in turns] for turns in rounds)], axis=0)
    # The cut is made on positions instead of tokens, so that each kept token can be put back into its round.
    positions = [tuple(np.arange(*ends[i : i + 2, part]) for part in (0, 1)) for i in range(len(rounds))]
    kept = cut_rounds(positions, room, budget)
    return [
        tuple(turns[part][np.isin(positions[i][part], kept[part])] for part in (0, 1))
        for i, turns in enumerate(rounds)
    ]


@cache
def _pieces(tokenizer: Any, rounds: int) -> tuple[Tokens, ...]:
    """Return the 2 `rounds` + 1 pieces of the layout: before, between and after the turns of the conversation."""
    if not tokenizer.chat_template:
        start = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), None)
        [between] = encode(tokenizer, ["\n\n"])
        first = [] if start is None else [start]
        return tuple(np.array(piece, dtype=np.int32) for piece in (first, *[between] * (2 * rounds)))
    texts = _template_texts(tokenizer, rounds)
    # Unlike the texts of battles, the template's text may contain special tokens.
    ids = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else [] for text in texts]
    return tuple(np.array(piece, dtype=np.int32) for piece in ids)


def _template_texts(tokenizer: Any, rounds: int) -> list[str]:
    """Return the text of the chat template before, between and after the turns.

    Raises UserError for a template that does not show every turn once and in order.
    """
    marks = [f"<turn {i} of {2 * rounds}>" for i in range(2 * rounds)]
    messages = [{"role": ("user", "assistant")[i % 2], "content": mark} for i, mark in enumerate(marks)]
    template = tokenizer.get_chat_template()
    template = FIXED_CLOCK + template if "strftime_now" in template else template
    rest = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    texts = []
    for mark in marks:
        before, found, rest = rest.partition(mark)
        texts.append(before)
        if not found or mark in rest:
            raise UserError(
                "the chat template of the tokenizer does not show every turn once and in order, which likelihoods "
                "need. Use another language model, or delete its chat template."
            )
    return [*texts, rest]
