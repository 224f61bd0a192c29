"""NVIDIA's HelpSteer preferences: which of two answers annotators found better, from -3 to 3.

Source: the cards of copies of the public data set nvidia/HelpSteer3, and code that reads nvidia/HelpSteer2, for the
columns and the meaning of the scores. That turns of a HelpSteer2 prompt are separated by "<extra_id_1>" is from
memory, not verified. `id` is a column of files that pairrank writes.

A negative score says that the first answer, which is A, is better; -3 is "much better". Its strength is a third of
the score. A score of -100, which annotators of HelpSteer2 could give, says that neither answer is valid: a tie of
two bad answers. `individual_preference`, the scores of up to three annotators, is not read: `overall_preference`
sums it up.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from pairrank.data.battles import TEXTS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, number_of
from pairrank.data.conversations import ConversationError, Message, messages_of, paired_turns, to_messages
from pairrank.data.formats.base import (
    DamagedRowError,
    RowSchema,
    UnusableRowError,
    Vote,
    left_out,
    register,
    text_cell,
)
from pairrank.errors import UserError, excerpt, shorten

MOST = 3
"""Largest score."""

NEITHER = -100
"""The score of two answers that are both bad."""

USUAL = 2
"""The score that is written for the better answer if it is not known how much better it is: "better"."""


@register
class HelpSteer(RowSchema):
    """One row per pair of answers, as in HelpSteer3."""

    about = "NVIDIA's HelpSteer3 preferences"
    required: ClassVar[tuple[str, ...]] = ("context", "response1", "response2")
    optional: ClassVar[tuple[str, ...]] = ("overall_preference", "domain", "language", "id")
    carries: ClassVar[tuple[str, ...]] = ("strength", "both_bad", "language", "category")

    verdict: ClassVar[tuple[str, ...]] = ("overall_preference",)
    answers: ClassVar[tuple[str, str]] = ("response1", "response2")

    def votes(self, row: Mapping[str, Any]) -> list[Vote]:
        """Return the vote that all annotators together have given; without a winner if there is no such column."""
        context = self.context(row)
        if context[-1].role == "assistant":
            raise UnusableRowError("the context ends with an answer")
        one, other = (Message("assistant", text_cell(row, name)) for name in self.answers)
        prompt, answer_a, answer_b = paired_turns([*context, one], [*context, other])
        winner, strength, is_bad = self._judgement(row) if self.verdict[0] in row else (None, 0.0, False)
        return [
            Vote(
                prompt,
                answer_a,
                answer_b,
                winner,
                strength=strength,
                both_bad=is_bad,
                id=id_of(row.get("id")),
                language=detail_of(row.get("language")),
                category=detail_of(row.get("domain")),
            )
        ]

    def context(self, row: Mapping[str, Any]) -> list[Message]:
        """Return the messages before the answers."""
        cell = row["context"]
        if cell is None or cell != cell or (isinstance(cell, list | str) and not cell):
            raise UnusableRowError("context is missing")
        try:
            return messages_of(cell)
        except ConversationError as fault:
            raise DamagedRowError(f"context {fault}") from None

    def _judgement(self, row: Mapping[str, Any]) -> tuple[Winner, float, bool]:
        """Return the winner, the strength and whether both answers are bad."""
        (name,) = self.verdict
        try:
            score = number_of(row[name])
        except ValueError:
            score = np.inf
        if score is None:
            raise UnusableRowError(f"{name} is missing")
        if score == NEITHER:
            return Winner.TIE, 0.0, True
        if not abs(score) <= MOST:
            raise DamagedRowError(f"{name} is {excerpt(row[name], 40)}, expected a number from -{MOST} to {MOST}")
        winner = Winner.TIE if score == 0 else Winner.A if score < 0 else Winner.B
        return winner, (0.0 - score) / MOST, False

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of HelpSteer3. A winner of unknown strength is "better", which is 2 of 3."""
        columns: dict[str, Any] = {"id": battles.id}
        columns["context"] = [
            _context(self.name, *row) for row in zip(battles.id, *(getattr(battles, n) for n in TEXTS), strict=True)
        ]
        columns |= {"response1": [turns[-1] for turns in battles.response_a]}
        columns |= {"response2": [turns[-1] for turns in battles.response_b]}
        if battles.winner is not None:
            columns["overall_preference"] = _scores(self.name, battles)
        columns |= {} if battles.category is None else {"domain": battles.category}
        columns |= {} if battles.language is None else {"language": battles.language}
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides texts, winners and what describes the vote."""
        return left_out(battles, self.carries)


def _context(schema: str, name: str, prompt: Any, answer_a: Any, answer_b: Any) -> list[dict[str, str]]:
    """Return the messages before the last answers; raises UserError if earlier answers of both sides differ."""
    if answer_a[:-1] != answer_b[:-1]:
        raise UserError(
            f"schema {schema}: id {shorten(name, 100)}: the answers before the last ones differ, expected a shared "
            "conversation. Choose another schema."
        )
    return to_messages(prompt, answer_a)[:-1]


def _scores(schema: str, battles: Battles) -> list[int]:
    """Return (n,) scores; raises UserError for strengths that are not thirds, or contradict winners."""
    winner = battles.labels
    sign = np.array([-1, 1, 0])[winner]
    strength = np.zeros(len(battles)) if battles.strength is None else battles.strength
    score = np.rint(-MOST * strength).astype(np.int64)
    if (inexact := np.abs(score + MOST * strength) > 1e-9).any():
        raise UserError(
            f"schema {schema}: {inexact.sum():,} of the battles have a strength such as {strength[inexact][0]:g}, "
            "expected thirds from -1 to 1. Round them, or choose another schema."
        )
    if (wrong := (score != 0) & (np.sign(score) != sign)).any():
        raise UserError(
            f"schema {schema}: {wrong.sum():,} battles have a strength that contradicts their winner, expected a "
            "positive strength where A has won. Correct them."
        )
    score = np.where(score == 0, USUAL * sign, score)
    if battles.both_bad is not None:
        score = np.where(battles.both_bad & (winner == Winner.TIE), NEITHER, score)
    return [int(each) for each in score]
