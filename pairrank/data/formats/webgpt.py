"""WebGPT comparisons: two answers to a question, with a score that says how much better the first one is.

Source: the card of openai/webgpt_comparisons, and programs that read `question["full_text"]`. The columns
`quotes_0`, `tokens_0` and their counterparts are not read. `id` is added by pairrank, so that ids are read back.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pairrank.data.battles import Battles, Winner
from pairrank.data.cells import detail_of, id_of, number_of
from pairrank.data.formats.base import (
    DamagedRowError,
    RowSchema,
    UnusableRowError,
    Vote,
    left_out,
    register,
    text_cell,
)
from pairrank.data.plain_texts import single_texts
from pairrank.data.probabilities import FloatArray
from pairrank.data.turns import DECODER
from pairrank.errors import UserError, excerpt, shorten

SCORES = ("score_0", "score_1")


@register
class WebGPT(RowSchema):
    """One row per comparison; the sign of `score_0` tells the winner, and 0 is a tie."""

    about = "OpenAI's WebGPT comparisons: a question, two answers and their scores"
    required = ("question", "answer_0", "answer_1")
    optional = ("id", *SCORES)
    verdict = SCORES
    carries = ("group", "category", "strength")

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the comparison of a row. All comparisons of one question are a group."""
        question = _question_of(row)
        score = _score_of(row)
        yield Vote(
            id=id_of(row.get("id")),
            prompt=(text_cell(question, "full_text"),),
            response_a=(text_cell(row, "answer_0"),),
            response_b=(text_cell(row, "answer_1"),),
            winner=None if score is None else Winner.TIE if score == 0 else Winner.A if score > 0 else Winner.B,
            strength=score or 0.0,
            group=detail_of(question.get("id")),
            category=detail_of(question.get("dataset")),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of the public file without quotes and tokens.

        Where no strength is known, the winner gets 1. Raises UserError for several turns, and for a strength that
        contradicts the winner.
        """
        texts = single_texts(battles, self.name)
        nothing = [""] * len(battles)
        datasets = nothing if battles.category is None else battles.category
        groups = nothing if battles.group is None else battles.group
        columns: dict[str, Sequence[Any]] = {
            "id": battles.id.tolist(),
            # Always an object, because a question that is itself JSON would otherwise be taken for one.
            "question": [
                {"dataset": dataset, "id": group, "full_text": text}
                for dataset, group, text in zip(datasets, groups, texts["prompt"], strict=True)
            ],
            "answer_0": texts["response_a"],
            "answer_1": texts["response_b"],
        }
        if battles.winner is not None:
            scores = self._scores(battles)
            # Adding 0.0 turns the negative zero of a tie into zero.
            columns |= {"score_0": scores.tolist(), "score_1": (0.0 - scores).tolist()}
        return columns

    def _scores(self, battles: Battles) -> FloatArray:
        signs = np.array([1.0, -1.0, 0.0])[battles.labels]
        strength = np.zeros(len(battles)) if battles.strength is None else battles.strength
        wrong = np.flatnonzero((strength != 0) & (np.sign(strength) != signs))
        if wrong.size:
            row = int(wrong[0])
            raise UserError(
                f"schema {self.name}: id {shorten(battles.id[row], 100)} has the strength {strength[row]:g}, and "
                f"its winner is {Winner(battles.labels[row]).name}. A score holds only what agrees with the winner."
            )
        return np.where(strength != 0, strength, signs)

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides texts, ids, winners, strengths, questions and their data sets."""
        strength = () if battles.winner is None else ("strength",)
        return left_out(battles, ("group", "category", *strength))


def _question_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a question as an object with `full_text`; it may be a text, and in CSV it is JSON."""
    value = row["question"]
    if isinstance(value, Mapping):
        if "full_text" not in value:
            raise DamagedRowError(f"question is {excerpt(value, 40)}, expected a text or an object with full_text")
        return value
    text = text_cell(row, "question")
    if text.lstrip().startswith("{") and "full_text" in text:
        try:
            found = DECODER.decode(text.strip())
        except (ValueError, RecursionError):
            raise DamagedRowError(f"question is {excerpt(text, 40)}, expected JSON with full_text") from None
        if isinstance(found, Mapping) and "full_text" in found:
            return found
    return {"full_text": text}


def _score_of(row: Mapping[str, Any]) -> float | None:
    """Return the score of the first answer, from -1 to 1; None if the file has no scores."""
    if not any(name in row for name in SCORES):
        return None
    found = []
    for name, sign in zip(SCORES, (1, -1), strict=True):
        try:
            score = number_of(row.get(name))
        except ValueError as fault:
            raise DamagedRowError(f"{name} {fault}") from None
        if score is not None:
            found.append(sign * score + 0.0)
    if not found:
        raise UnusableRowError("score is missing")
    if not all(map(math.isfinite, found)):
        raise UnusableRowError("score is not a number")
    if np.sign(found[0]) != np.sign(found[-1]):
        raise UnusableRowError("both scores contradict each other")
    return min(1.0, max(-1.0, found[0]))
