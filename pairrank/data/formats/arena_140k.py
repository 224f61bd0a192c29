"""Votes of LMArena from 2025: several votes of one session, and messages whose contents are lists of parts.

Source: the data set card of lmarena-ai/arena-human-preference-140k; for the expert votes, the card of
sanderland/arena-expert-5k, whose conversations are JSON texts, and which has no `evaluation_session_id` and
`category_tag` but `occupational_tags`. The column `timestamp` is from memory, not verified.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles
from pairrank.data.formats.arena import ArenaVotes
from pairrank.data.formats.base import register


@register
class Arena140k(ArenaVotes):
    """The rows of one session are of one user, who goes on with the same conversation."""

    about = "LMArena's 140,000 votes of 2025 and its expert votes"
    required = ("id", "model_a", "model_b", "conversation_a", "conversation_b")
    # The expert votes have no session, so that it cannot be required.
    optional = (
        "winner",
        "evaluation_session_id",
        "evaluation_order",
        "language",
        "category_tag",
        "occupational_tags",
        "is_code",
        "timestamp",
    )
    carries = (*MODELS, "group", "language", "category", "time", "both_bad")

    both_bad = "both_bad"
    own_id = "id"
    details = {  # noqa: RUF012  # a constant, as `about` is
        "group": ("evaluation_session_id",),
        "language": ("language",),
        "category": ("category_tag", "occupational_tags"),
        "time": ("timestamp",),
    }

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError without winners."""
        columns = super().columns(battles)
        conversations = ("conversation_a", "conversation_b")
        return columns | {name: _in_parts(columns[name]) for name in conversations}


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
