"""Votes of Chatbot Arena from 2023 and 2024: two conversations side by side, and the word of the winner.

Source: the data set card of lmsys/chatbot_arena_conversations (33,000 votes, judges named in `judge`), as copied in
d-llm/chatbot_arena_conversations; `category_tag` and `is_code` are from the card of
davanstrien/Llama-4-Maverick-03-26-Experimental-battles. `judge_hash` in lmarena-ai/arena-human-preference-100k is
from memory, not verified.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, name_of
from pairrank.data.formats.base import RowSchema, Vote, left_out, register
from pairrank.data.formats.pairs import (
    category_of,
    conversations_of,
    given,
    has_conversations,
    plain_cell,
    sides_of,
    texts_of,
    word_of,
    words_of,
)
from pairrank.data.tables import Table

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
    verdict = ("winner",)
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
            winner=OUTCOMES.get(word),
            both_bad=word == BOTH_BAD,
            id=id_of(plain_cell(row, "question_id")),
            model_a=name_of(plain_cell(row, "model_a")),
            model_b=name_of(plain_cell(row, "model_b")),
            judge=detail_of(row.get("judge")) or detail_of(row.get("judge_hash")),
            language=detail_of(row.get("language")),
            category=category_of(row, "category_tag"),
            time=detail_of(row.get("tstamp")),
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
