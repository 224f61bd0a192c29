"""Preference data as the library TRL trains on: a chosen and a rejected answer, as texts or as lists of messages.

Source: TRL's documentation, "Dataset formats and types", and `maybe_extract_prompt` of `trl/data_utils.py`, for
prompt, chosen and rejected; the cards of copies of UltraFeedback binarized for score_chosen and score_rejected;
margin from memory, not verified. `id` is a column of files that pairrank writes.

Where the prompt is not a column of its own, it is what both answers begin with. Of two lists of messages, these are
the messages that they share. Of two texts, it is their longest common beginning, cut back to its last line end or,
if it has none, to its last white space, so that no word is divided. The white space at the cut belongs to neither.

A text as the prompt beside whole lists of messages, as in UltraFeedback, repeats what the lists begin with: a
comment in `maybe_extract_prompt` says so, and TRL itself then uses the lists alone. Here, too, the messages are the
prompt. Letters and digits of the text are compared with theirs, and a row whose text says something else is a
complaint, because the answers were perhaps given to another prompt.

A margin, or else the difference of both scores, says how much better the chosen answer is. It becomes `strength`
if those of the first rows are all within [-1, 1]; other scales are not known, so that the strength stays 0. It is
0, too, where the margin is negative, because that contradicts which answer was chosen.

Which answer is A is drawn by the texts, in this schema and in all others that have chosen and rejected answers.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pairrank.data.battles import Battles, Winner
from pairrank.data.cells import id_of, number_of
from pairrank.data.conversations import ConversationError, Message, messages_of, paired_turns, to_messages
from pairrank.data.folds import nfkc
from pairrank.data.formats.base import DamagedRowError, RowSchema, UnusableRowError, Vote, left_out, register
from pairrank.data.formats.pairs import are_transcripts, chosen_is_a, preference
from pairrank.data.tables import Table
from pairrank.data.turns import DECODER, Turns
from pairrank.errors import UserError, excerpt

LINE_END = re.compile(r".*[\r\n]", re.DOTALL)
WHITE_SPACE = re.compile(r".*\s", re.DOTALL)

Answer = str | list[Message]
"""An answer, or the conversation that ends with it."""


@register
class TrlPreference(RowSchema):
    """One row per pair of answers."""

    about = "preference data of TRL: chosen and rejected answers"
    required = ("chosen", "rejected")
    optional = ("prompt", "margin", "score_chosen", "score_rejected", "id")
    carries = ("strength",)

    is_scaled: bool = True
    """Whether margins are strengths, from -1 to 1."""

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the answers are not transcripts, which have the schema `hh_rlhf`."""
        return not are_transcripts(table)

    def begin(self, table: Table) -> None:
        """Note whether the first margins are within [-1, 1]."""
        self.is_scaled = all(abs(margin) <= 1 for margin in map(_margin_or_nothing, table.rows()))

    def votes(self, row: Mapping[str, Any]) -> list[Vote]:
        """Return the vote for the chosen answer."""
        vote = preference(*_texts(row))
        margin = _margin(row)
        strength = margin if self.is_scaled and 0 < margin <= 1 else 0.0
        signed = strength if vote.winner == Winner.A else 0.0 - strength
        return [replace(vote, id=id_of(row.get("id")), strength=signed)]

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return both conversations in full, so that the prompt is implicit, and the strength as margin."""
        is_a = chosen_is_a(battles, self.name)
        columns: dict[str, Any] = {"id": battles.id}
        for name, is_side_a in (("chosen", is_a), ("rejected", ~is_a)):
            answers = np.where(is_side_a, battles.response_a, battles.response_b)
            columns[name] = [to_messages(*turns) for turns in zip(battles.prompt, answers, strict=True)]
        if battles.strength is not None:
            margin = np.where(is_a, battles.strength, 0.0 - battles.strength)
            if (margin < 0).any():
                raise UserError(
                    f"schema {self.name}: {(margin < 0).sum():,} battles have a strength that contradicts their "
                    "winner, expected a positive strength where A has won. Correct them."
                )
            columns["margin"] = margin.tolist()
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides texts, winners and strengths."""
        return left_out(battles, ("strength",))


# Texts


def _texts(row: Mapping[str, Any]) -> tuple[Turns, Turns, Turns]:
    """Return the prompt, the chosen and the rejected answer."""
    one, other = (_required_answer(row, name) for name in ("chosen", "rejected"))
    before = _answer(row, "prompt")
    if isinstance(one, str) and isinstance(other, str):
        if before is None:
            if "prompt" in row:
                raise UnusableRowError("prompt is missing")
            return _split(one, other)
        if isinstance(before, str):
            return (before,), (one,), (other,)
        one, other = [Message("assistant", one)], [Message("assistant", other)]
    for name, answer in (("chosen", one), ("rejected", other)):
        if isinstance(answer, str):
            raise DamagedRowError(f"{name} is {excerpt(answer, 40)}, expected messages as in the other answer")
    return _paired(_conversation(before, one), _conversation(before, other))


def _paired(one: Sequence[Message], other: Sequence[Message]) -> tuple[Turns, Turns, Turns]:
    if all(message.role == "assistant" for message in one):
        raise UnusableRowError("prompt is missing")
    try:
        return paired_turns(one, other)
    except ConversationError:
        raise UnusableRowError("the user's turns differ") from None


def _conversation(before: Answer | None, answer: Answer) -> list[Message]:
    """Return the messages of a prompt and an answer, which may begin with the prompt itself."""
    messages = [Message("assistant", answer)] if isinstance(answer, str) else answer
    if before is None:
        return messages
    if isinstance(before, str) and any(message.role == "user" for message in messages):
        _refuse_other_prompt(before, messages)
        return messages
    start = [Message("user", before)] if isinstance(before, str) else before
    return messages if messages[: len(start)] == start else start + messages


def _refuse_other_prompt(text: str, messages: Sequence[Message]) -> None:
    """Raise DamagedRowError if a prompt is neither one of the messages before the last answer nor all of them."""
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    before = [_letters(message.text) for message in messages[: last + 1]]
    if text.strip() and _letters(text) not in (*before, "".join(before)):
        raise DamagedRowError(f"prompt is {excerpt(text, 40)}, expected what both answers begin with")


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, nfkc(text).casefold()))


def _split(one: str, other: str) -> tuple[Turns, Turns, Turns]:
    """Return the prompt that two texts begin with, and what follows it in each."""
    different = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    shared = one[: next(different, min(len(one), len(other)))]
    cut = LINE_END.match(shared) or WHITE_SPACE.match(shared)
    if cut is None or not cut[0].strip():
        raise UnusableRowError("prompt is missing")
    return (cut[0].rstrip(),), (one[cut.end() :].lstrip(),), (other[cut.end() :].lstrip(),)


def _required_answer(row: Mapping[str, Any], name: str) -> Answer:
    answer = _answer(row, name)
    if answer is None:
        raise UnusableRowError(f"{name} is missing")
    return answer


def _answer(row: Mapping[str, Any], name: str) -> Answer | None:
    """Return a cell as text or messages; None for null and for a list without messages."""
    cell = row.get(name)
    if cell is None or cell != cell or (isinstance(cell, list | tuple) and not cell):
        return None
    if isinstance(cell, str):
        cell = _decoded(cell)
        if isinstance(cell, str):
            return cell
    if not isinstance(cell, list | tuple):
        raise DamagedRowError(f"{name} is {excerpt(cell, 40)}, expected text or messages")
    try:
        return messages_of(cell)
    except ConversationError as fault:
        raise DamagedRowError(f"{name} {fault}") from None


def _decoded(text: str) -> Any:
    """Return the messages that a text holds as JSON, as in .csv files, or else the text itself."""
    if not text.lstrip().startswith("["):
        return text
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    is_conversation = bool(value) and all(isinstance(each, Mapping) for each in value)
    return value if is_conversation and any({"role", "from"} & each.keys() for each in value) else text


# Margins


def _margin(row: Mapping[str, Any]) -> float:
    """Return how much better the chosen answer is, on the scale of the file; 0 if the row does not say."""
    margin, chosen, rejected = (_number(row, name) for name in ("margin", "score_chosen", "score_rejected"))
    if margin is not None:
        return margin
    return 0.0 if chosen is None or rejected is None else chosen - rejected


def _margin_or_nothing(row: Mapping[str, Any]) -> float:
    try:
        return _margin(row)
    except DamagedRowError:
        return 0.0


def _number(row: Mapping[str, Any], name: str) -> float | None:
    """Return a number; None if it is missing or not finite."""
    cell = row.get(name)
    try:
        number = number_of(cell)
    except ValueError as fault:
        raise DamagedRowError(f"{name} {fault}") from None
    if isinstance(cell, str) and number is not None and math.isnan(number):
        raise DamagedRowError(f"{name} is {excerpt(cell, 40)}, expected a number")
    return number if number is not None and math.isfinite(number) else None
