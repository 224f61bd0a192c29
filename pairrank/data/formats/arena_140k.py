"""Votes of LMArena from 2025: several votes of one session, and messages whose contents are lists of parts.

Source: the data set card of lmarena-ai/arena-human-preference-140k; for the expert votes, the card of
sanderland/arena-expert-5k, whose conversations are JSON texts, and which has no `evaluation_session_id` and
`category_tag` but `occupational_tags`. The column `timestamp` is from memory, not verified.
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

BOTH_BAD = "both_bad"
"""The winner of a vote that called both answers bad."""

OUTCOMES = {"model_a": Winner.A, "model_b": Winner.B, "tie": Winner.TIE, BOTH_BAD: Winner.TIE}
"""Winners by the words of the file."""


@register
class Arena140k(RowSchema):
    """One row per vote; the rows of one session are of one user, who goes on with the same conversation."""

    about = "LMArena's 140,000 votes of 2025 and its expert votes"
    required = ("id", "model_a", "model_b", "winner", "conversation_a", "conversation_b")
    # The expert votes have no session, so that it cannot be required.
    optional = (
        "evaluation_session_id",
        "evaluation_order",
        "language",
        "category_tag",
        "occupational_tags",
        "is_code",
        "timestamp",
    )
    verdict = ("winner",)
    carries = (*MODELS, "group", "language", "category", "time", "both_bad")

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
            id=id_of(plain_cell(row, "id")),
            model_a=name_of(plain_cell(row, "model_a")),
            model_b=name_of(plain_cell(row, "model_b")),
            group=detail_of(row.get("evaluation_session_id")),
            language=detail_of(row.get("language")),
            category=category_of(row, "category_tag", "occupational_tags"),
            time=detail_of(row.get("timestamp")),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError without winners."""
        details = {
            "group": "evaluation_session_id",
            "language": "language",
            "category": "category_tag",
            "time": "timestamp",
        }
        return {
            "id": battles.id.tolist(),
            **{name: texts_of(battles, name) for name in MODELS},
            "winner": words_of(self.name, battles, OUTCOMES, BOTH_BAD),
            **{f"conversation_{side}": _in_parts(conversations_of(battles, side)) for side in "ab"},
            **given(battles, details),
        }

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns that have no place in the file."""
        return left_out(battles, self.carries)


def _in_parts(conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[list[dict[str, Any]]]:
    """Return conversations in which each content is a list of a single part of text."""
    return [
        [
            {
                "role": message["role"],
                "content": [{"type": "text", "text": message["content"], "image": None, "mimeType": None}],
            }
            for message in conversation
        ]
        for conversation in conversations
    ]
