"""Votes of Chatbot Arena from 2023 and 2024: two conversations side by side, and the word of the winner.

Source: the data set card of lmsys/chatbot_arena_conversations (33,000 votes, judges named in `judge`), as copied in
d-llm/chatbot_arena_conversations; `category_tag` and `is_code` are from the card of
davanstrien/Llama-4-Maverick-03-26-Experimental-battles. `judge_hash` in lmarena-ai/arena-human-preference-100k is
from memory, not verified. Other schemas with two conversations per row
use the functions below.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import flag_of, id_of, name_of, text_of
from pairrank.data.conversations import ConversationError, Message, messages_of, paired_turns, to_messages
from pairrank.data.formats.base import DamagedRowError, RowSchema, UnusableRowError, Vote, register, text_cell
from pairrank.data.probabilities import Labels
from pairrank.data.tables import Table
from pairrank.data.turns import DECODER, Turns
from pairrank.errors import UserError, excerpt

BOTH_BAD = "tie (bothbad)"
"""The winner of a vote that called both answers bad."""

OUTCOMES = {"model_a": Winner.A, "model_b": Winner.B, "tie": Winner.TIE, BOTH_BAD: Winner.TIE}
"""Winners by the words of the file."""


@register
class ChatbotArena(RowSchema):
    """One row per vote, with a conversation per side as a list of messages."""

    about = "Chatbot Arena's conversations and its 100,000 votes of 2024"
    # MT-bench's rows have the other columns, too, but no time.
    required = ("question_id", "model_a", "model_b", "winner", "conversation_a", "conversation_b", "tstamp")
    optional = ("judge", "judge_hash", "language", "category_tag", "is_code")
    carries = (*MODELS, "judge", "language", "category", "time", "both_bad")

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the first rows have conversations, and not their numbers alone."""
        return has_conversations(table)

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the one battle of a row."""
        word = word_of(row, OUTCOMES)
        prompt, response_a, response_b = sides_of(row)
        yield Vote(
            prompt,
            response_a,
            response_b,
            winner=OUTCOMES[word],
            both_bad=word == BOTH_BAD,
            id=id_of(plain_cell(row, "question_id")),
            model_a=name_of(plain_cell(row, "model_a")),
            model_b=name_of(plain_cell(row, "model_b")),
            judge=text_of(plain_cell(row, "judge")) or text_of(plain_cell(row, "judge_hash")),
            language=text_of(plain_cell(row, "language")),
            category=category_of(row, "category_tag"),
            time=text_of(plain_cell(row, "tstamp")),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError without winners."""
        return {
            "question_id": battles.id.tolist(),
            **{name: texts_of(battles, name) for name in MODELS},
            "winner": words_of(self.name, battles, OUTCOMES, BOTH_BAD),
            **{f"conversation_{side}": conversations_of(battles, side) for side in "ab"},
            "turn": [len(turns) for turns in battles.prompt],
            "tstamp": texts_of(battles, "time"),
            **given(battles, {"judge": "judge", "language": "language", "category": "category_tag"}),
        }

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns that have no place in the file."""
        return left_out(battles, self.carries)


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
    """Return the word in the column `winner`; raises UnusableRowError if there is none or it is not known."""
    word = text_cell(row, "winner").strip().lower()
    if not word:
        raise UnusableRowError("winner is missing")
    if word not in known:
        raise UnusableRowError("winner is not a known word")
    return word


def messages_in(row: Mapping[str, Any], name: str) -> list[Message]:
    """Return the messages in a cell; raises UnusableRowError if there are none and DamagedRowError otherwise."""
    if is_missing(row.get(name)):
        raise UnusableRowError(f"{name} is missing")
    try:
        return messages_of(row[name])
    except ConversationError as fault:
        raise DamagedRowError(f"{name} {fault}") from None


def paired(one: Sequence[Message], other: Sequence[Message]) -> tuple[Turns, Turns, Turns]:
    """Return the prompt and both answers; raises UnusableRowError if the user did not write the same to both."""
    try:
        return paired_turns(one, other)
    except ConversationError:
        raise UnusableRowError("the user's turns of both conversations differ") from None


def sides_of(row: Mapping[str, Any]) -> tuple[Turns, Turns, Turns]:
    """Return the prompt and both answers of a row with `conversation_a` and `conversation_b`."""
    return paired(messages_in(row, "conversation_a"), messages_in(row, "conversation_b"))


def category_of(row: Mapping[str, Any], *names: str) -> str:
    """Return the tags of the prompt, separated by commas, with "code" if `is_code` is true.

    A cell is a text or a table of flags, which may be nested; the names of its true flags are the tags.
    """
    tags: list[str] = []
    for name in names:
        cell = row.get(name)
        if isinstance(cell, str) and cell.lstrip().startswith("{"):
            cell = _decoded(cell)
        tags += _true_flags(cell) if isinstance(cell, Mapping) else [text_of(plain_cell(row, name))]
    text = ",".join(filter(None, dict.fromkeys(tags)))
    if flag_of(plain_cell(row, "is_code")) == 1 and "code" not in text.split(","):
        return f"{text},code" if text else "code"
    return text


def _decoded(cell: str) -> Any:
    try:
        return DECODER.decode(cell.strip())
    except (ValueError, RecursionError):
        return cell


def _true_flags(tags: Mapping[str, Any]) -> Iterator[str]:
    for name, value in tags.items():
        if isinstance(value, Mapping):
            yield from _true_flags(value)
        elif value is True:  # a score of 1 is not a flag
            yield name


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


def left_out(battles: Battles, carries: Sequence[str]) -> list[str]:
    """Return the names of the columns that a schema which carries these fields cannot hold."""
    kept = {"id", "prompt", "response_a", "response_b", "winner", *carries}
    return [name for name, column in battles.columns().items() if column is not None and name not in kept]
