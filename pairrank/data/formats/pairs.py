"""Schemas whose rows have two conversations, or a chosen and a rejected answer, share what is here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import Battles, Winner
from pairrank.data.cells import decoded, detail_of, flag_of, name_of
from pairrank.data.conversations import ConversationError, Message, messages_of, paired_turns, to_messages
from pairrank.data.formats.base import DamagedRowError, RepairedRow, UnusableRowError, Vote, text_cell
from pairrank.data.formats.vote import is_first
from pairrank.data.probabilities import Labels
from pairrank.data.tables import Table
from pairrank.data.turns import Turns, repair_text
from pairrank.errors import UserError, excerpt

# Cells of rows with two conversations


def has_conversations(table: Table) -> bool:
    """Return whether the first cells of both conversations hold messages, as far as they hold anything."""
    cells = [cell for side in "ab" for cell in table.cells[f"conversation_{side}"] if not is_missing(cell)]
    return not cells or any(
        cell.lstrip().startswith("[") if isinstance(cell, str) else isinstance(cell, list | tuple) for cell in cells
    )


def is_missing(cell: Any) -> bool:
    """Return whether a cell holds nothing: null, NaN, an empty text or an empty list, as it is or as JSON."""
    if isinstance(cell, list | tuple):
        return not cell
    return cell is None or cell != cell or (isinstance(cell, str) and cell.strip() in ("", "[]", "null"))


def plain_cell(row: Mapping[str, Any], name: str) -> Any:
    """Return a cell that must not be nested; None if the row lacks it. Raises DamagedRowError otherwise."""
    cell = row.get(name)
    if isinstance(cell, list | tuple | Mapping):
        raise DamagedRowError(f"{name} is {excerpt(cell, 40)}, expected a text or a number")
    return cell


def word_of(row: Mapping[str, Any], known: Mapping[str, Winner]) -> str:
    """Return the word in the column `winner`, "" without such a column.

    Raises UnusableRowError if the cell is empty or its word is not known.
    """
    if "winner" not in row:
        return ""
    word = name_of(text_cell(row, "winner")).lower()
    if not word:
        raise UnusableRowError("winner is missing")
    if word not in known:
        raise UnusableRowError("winner is not a known word")
    return word


def messages_in(row: Mapping[str, Any], name: str) -> list[Message]:
    """Return the messages in a cell; raises UnusableRowError if there are none and DamagedRowError otherwise.

    A `RepairedRow` has no messages there.
    """
    reason: ValueError = UnusableRowError(f"{name} is missing")
    if not is_missing(row.get(name)):
        try:
            return messages_of(row[name])
        except ConversationError as fault:
            reason = DamagedRowError(f"{name} {fault}")
    if not isinstance(row, RepairedRow):
        raise reason
    row.faults.append(str(reason))
    return []


def paired(one: Sequence[Message], other: Sequence[Message]) -> tuple[Turns, Turns, Turns]:
    """Return the prompt and both answers; raises UnusableRowError if the user did not write the same to both.

    A conversation without messages, which only a `RepairedRow` has, gets the other's prompt and empty answers.
    """
    one, other = one or _unanswered(other), other or _unanswered(one)
    try:
        return paired_turns(one, other)
    except ConversationError:
        raise UnusableRowError("the user's turns of both conversations differ") from None


def _unanswered(messages: Sequence[Message]) -> list[Message]:
    return [message._replace(text="") if message.role == "assistant" else message for message in messages]


def sides_of(row: Mapping[str, Any]) -> tuple[Turns, Turns, Turns]:
    """Return the prompt and both answers of a row with `conversation_a` and `conversation_b`."""
    return paired(messages_in(row, "conversation_a"), messages_in(row, "conversation_b"))


def category_of(row: Mapping[str, Any], *names: str) -> str:
    """Return the tags of the prompt as `detail_of` gives them, with "code" if `is_code` is true."""
    text = ",".join(filter(None, (detail_of(decoded(row.get(name))) for name in names)))
    if flag_of(plain_cell(row, "is_code")) == 1 and "code" not in text.split(","):
        return f"{text},code" if text else "code"
    return text


# Columns of battles with two conversations


def labels_of(schema: str, battles: Battles) -> Labels:
    """Return the winners; raises UserError if there are none, because files without them have another schema."""
    if battles.winner is None:
        raise UserError(f"schema {schema}: these battles have no winners, which it requires. Choose another one.")
    return battles.winner


def words_of(schema: str, battles: Battles, known: Mapping[str, Winner], both_bad: str = "") -> list[str]:
    """Return the first word for each winner. `both_bad` is the word for a tie of bad answers, "" for none."""
    words = {winner: word for word, winner in reversed([*known.items()])}
    found = [words[Winner(winner)] for winner in labels_of(schema, battles).tolist()]
    if not both_bad or battles.both_bad is None:
        return found
    return [
        both_bad if bad and known[word] == Winner.TIE else word
        for word, bad in zip(found, battles.both_bad.tolist(), strict=True)
    ]


def texts_of(battles: Battles, name: str) -> Sequence[str]:
    """Return a column of names or details, "" in every row if the battles lack it."""
    column = getattr(battles, name)
    return [""] * len(battles) if column is None else column.tolist()


def given(battles: Battles, names: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Return the details that the battles have, under the file's names for them."""
    return {ours: texts_of(battles, name) for name, ours in names.items() if getattr(battles, name) is not None}


def conversations_of(battles: Battles, side: str) -> list[list[dict[str, str]]]:
    """Return the conversation of one side, "a" or "b", in every battle."""
    answers = getattr(battles, f"response_{side}")
    return [to_messages(*turns) for turns in zip(battles.prompt, answers, strict=True)]


# Chosen and rejected answers


def are_transcripts(table: Table) -> bool:
    """Return whether most of the first answers are transcripts, which begin with "Human:"."""
    cells = [cell for name in ("chosen", "rejected") for cell in table.cells.get(name, ())]
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    transcripts = [text for text in texts if text.lstrip().startswith("Human:")]
    return len(transcripts) > len(texts) / 2


def preference(prompt: Turns, chosen: Turns, rejected: Turns) -> Vote:
    """Return the vote for one of two answers, of which A is drawn; raises UnusableRowError if they are equal."""
    # The draw sorts texts, and a repair may change their order.
    prompt, chosen, rejected = (tuple(map(repair_text, turns)) for turns in (prompt, chosen, rejected))
    if chosen == rejected:
        raise UnusableRowError("chosen and rejected are equal")
    if is_first(prompt, chosen, rejected):
        return Vote(prompt, chosen, rejected, Winner.A)
    return Vote(prompt, rejected, chosen, Winner.B)


def chosen_is_a(battles: Battles, schema: str) -> npt.NDArray[np.bool_]:
    """Return (n,) whether A is the chosen answer; raises UserError if some battle has no chosen answer."""
    if battles.winner is None:
        raise UserError(
            f"schema {schema}: the battles have no winners, expected a chosen answer in each. "
            "Choose another schema."
        )
    if ties := int((battles.winner == Winner.TIE).sum()):
        raise UserError(
            f"schema {schema}: {ties:,} of the battles are ties, expected a chosen answer in each. "
            "Leave them out, or choose another schema."
        )
    if equal := sum(a == b for a, b in zip(battles.response_a, battles.response_b, strict=True)):
        raise UserError(
            f"schema {schema}: {equal:,} of the battles have equal answers, expected that the chosen one differs. "
            "Leave them out, or choose another schema."
        )
    is_a: npt.NDArray[np.bool_] = battles.winner == Winner.A
    return is_a
