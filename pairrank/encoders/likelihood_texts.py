"""A language model reads an answer after its prompt, and some tokens of the conversation are scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.encoders.chat import Conversations, cut_turns, keep_turns, uses_chat
from pairrank.encoders.windows import Budget, Round, Tokens, encode
from pairrank.errors import UserError

UNSCORED, PROMPT, ANSWER = 0, 1, 2
"""Kinds of tokens: of the layout or of a later prompt turn, of the first prompt turn, of the answer."""

REMEDY = "Use another language model, or delete its chat template."


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
class ScoredLayout:
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
            rounds = keep_turns(rounds, len(rounds) - 1, self.budget)
        room = self.max_tokens - self._overhead(len(rounds))
        if room < 2:
            least = self.max_tokens - room + 2
            raise UserError(
                f"max_tokens = {self.max_tokens}: the window has no room for a text. Set it to {least} or more."
            )
        kept = cut_turns(rounds, room, self.budget)
        pieces = self._around(len(kept))
        parts, kinds = [pieces[0]], [UNSCORED]
        for place, ((prompt, answer), (_, whole)) in enumerate(kept):
            between, after = pieces[2 * place + 1 : 2 * place + 3]
            # A turn that was cut has no end that could be scored.
            end = int(len(answer) == len(whole))
            parts += [prompt, between, answer, after[:end], after[end:]]
            kinds += [UNSCORED if place else PROMPT, UNSCORED, ANSWER, ANSWER, UNSCORED]
        every = [np.full(len(part), kind, dtype=np.int8) for part, kind in zip(parts, kinds, strict=True)]
        return ScoredTokens(np.concatenate(parts), np.concatenate(every))

    def _overhead(self, rounds: int) -> int:
        """Return the number of tokens that the layout of so many rounds adds to their texts."""
        return sum(map(len, self._around(rounds)))

    def _around(self, rounds: int) -> tuple[Tokens, ...]:
        """Return the 2 `rounds` + 1 pieces before, between and after the texts: of the chat template, if any."""
        if self._chat is not None:
            return self._chat.around(rounds)
        tokens = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        first = [token for token in tokens if token is not None][:1]
        [between] = encode(self.tokenizer, ["\n\n"])
        return tuple(np.array(piece, dtype=np.int32) for piece in (first, *[between] * (2 * rounds)))

    @cached_property
    def _chat(self) -> Conversations | None:
        return Conversations(self.tokenizer, REMEDY) if uses_chat(self.tokenizer, "auto") else None
