"""A judge reads a prompt, both answers and a question; texts are cut to the window, the question never is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles
from pairrank.encoders.chat import USE_PLAIN, Template, chat_pieces, encode_layout, uses_chat
from pairrank.encoders.windows import (
    Budget,
    TokenCoverage,
    Tokens,
    cut_rounds,
    iterate_rounds,
    measure_coverage,
)
from pairrank.errors import UserError

Counts = npt.NDArray[np.int64]
"""(n, 2, 3) tokens of n battles: those kept, and those before cutting, of prompt, A and B."""

MESSAGE = (
    "Which of two responses to a prompt do people prefer?\n\nPrompt:\n",
    "\n\nResponse A:\n",
    "\n\nResponse B:\n",
    "\n\nWhich response do people prefer? Reply A, B, or C if neither is better.",
)
"""The text before the prompt, before A, before B, and after B."""
ANNOUNCEMENT = "Answer:"
"""The words after which the judge names the outcome."""
OUTCOMES = ("A", "B", "C")
"""The words for A wins, B wins and tie; single letters are single tokens in nearly every vocabulary."""


@dataclass(frozen=True)
class JudgeTemplate:
    """The tokens around prompt, A and B, control tokens included."""

    pieces: tuple[Tokens, Tokens, Tokens, Tokens]
    """Tokens before the prompt, before A, before B, and after B."""
    closing: str
    """The text of the last piece, after which the outcome is named."""

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def before_answers(self, prompt: Tokens) -> Tokens:
        """Return the tokens up to the first answer, which both orders of a battle share."""
        return np.concatenate([self.pieces[0], prompt, self.pieces[1]])

    def answers(self, first: Tokens, second: Tokens) -> Tokens:
        """Return the tokens from the first answer on."""
        return np.concatenate([first, self.pieces[2], second, self.pieces[3]])

    def row(self, prompt: Tokens, first: Tokens, second: Tokens) -> Tokens:
        """Return all tokens of a battle in one order."""
        return np.concatenate([self.before_answers(prompt), self.answers(first, second)])


@dataclass(frozen=True, slots=True)
class JudgeText:
    """The tokens of one battle that fit the window."""

    prompt: Tokens
    a: Tokens
    b: Tokens
    lengths: tuple[int, int, int]
    """Tokens of prompt, A and B before anything was cut."""

    @property
    def counts(self) -> Counts:
        """The row of this battle in an array of counts."""
        return np.array([[len(self.prompt), len(self.a), len(self.b)], self.lengths])


def judge_template(tokenizer: Any, template: Template = "auto") -> JudgeTemplate:
    """Return the layout of a judge's text; raises UserError for a chat template that cannot show it."""
    if uses_chat(tokenizer, template):
        texts = chat_pieces(tokenizer, [MESSAGE], USE_PLAIN, generate=True)
        first = np.array([], dtype=np.int32)
    else:
        texts = [*MESSAGE[:-1], f"{MESSAGE[-1]}\n\n"]
        first = _opening_tokens(tokenizer)
    texts[-1] += ANNOUNCEMENT
    start, before_a, before_b, end = (encode_layout(tokenizer, text) for text in texts)
    return JudgeTemplate((np.concatenate([first, start]), before_a, before_b, end), texts[-1])


def _opening_tokens(tokenizer: Any) -> Tokens:
    """Return the special tokens that the tokenizer puts before a plain text."""
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return np.array(whole[:start], dtype=np.int32)


def outcome_tokens(tokenizer: Any, template: JudgeTemplate) -> tuple[int, int, int]:
    """Return the tokens of `OUTCOMES` as they follow the template.

    A word is joined to the space before it where the two are one token. Raises UserError if a word is not a single
    token, or the same token as another one.
    """
    before = template.pieces[-1].tolist()
    for lead in (" ", ""):
        found = [encode_layout(tokenizer, f"{template.closing}{lead}{word}").tolist() for word in OUTCOMES]
        tokens = {ids[-1] for ids in found} - {tokenizer.unk_token_id}
        if len(tokens) == 3 and all(ids[:-1] == before for ids in found):
            a, b, tie = (ids[-1] for ids in found)
            return a, b, tie
    raise UserError(
        f"the tokenizer has no single tokens for {', '.join(OUTCOMES)} after {ANNOUNCEMENT!r}, whose logits are "
        'needed. Use another language model, or set head to "trained".'
    )


def judge_texts(
    battles: Battles, tokenizer: Any, template: JudgeTemplate, window: int, budget: Budget = "fair"
) -> Iterator[JudgeText]:
    """Yield the texts of each battle, cut so that a row of the template has at most `window` tokens.

    A and B are treated alike, so that the texts of a swapped battle are the swapped texts. Raises UserError if the
    window has no room for prompt, A and B.
    """
    room = window - len(template)
    if room < 3:
        least = len(template) + 3
        raise UserError(f"max_tokens = {window}: no room for prompt, A and B. Set it to {least} or more.")
    for rounds in iterate_rounds(battles, tokenizer):
        prompt, a, b = (sum(len(turn[part]) for turn in rounds) for part in range(3))
        kept = cut_rounds(rounds, room, budget)
        yield JudgeText(kept[0], kept[1], kept[2], (prompt, a, b))


def coverage_of(counts: Counts) -> TokenCoverage:
    """Return how many tokens of n battles were kept."""
    return measure_coverage(counts[:, 0], counts[:, 1])
