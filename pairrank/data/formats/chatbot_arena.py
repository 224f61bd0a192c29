"""Votes of Chatbot Arena from 2023 and 2024: two conversations side by side, and the word of the winner.

Source: the data set card of lmsys/chatbot_arena_conversations (33,000 votes, judges named in `judge`), as copied in
d-llm/chatbot_arena_conversations; `category_tag` and `is_code` are from the card of
davanstrien/Llama-4-Maverick-03-26-Experimental-battles. `judge_hash` in lmarena-ai/arena-human-preference-100k is
from memory, not verified.
"""

from collections.abc import Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles
from pairrank.data.formats.arena import ArenaVotes
from pairrank.data.formats.base import register
from pairrank.data.formats.pairs import texts_of


@register
class ChatbotArena(ArenaVotes):
    """The votes name their judges, and not their sessions."""

    about = "Chatbot Arena's conversations and its 100,000 votes of 2024"
    # MT-bench's rows have the other columns, too, but no time.
    required = ("question_id", "model_a", "model_b", "conversation_a", "conversation_b", "tstamp")
    optional = ("winner", "judge", "judge_hash", "language", "category_tag", "is_code")
    carries = (*MODELS, "judge", "language", "category", "time", "both_bad")

    both_bad = "tie (bothbad)"
    own_id = "question_id"
    details = {  # noqa: RUF012  # a constant, as `about` is
        "judge": ("judge", "judge_hash"),
        "language": ("language",),
        "category": ("category_tag",),
        "time": ("tstamp",),
    }

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError without winners."""
        turns = [len(turns) for turns in battles.prompt]
        return super().columns(battles) | {"turn": turns, "tstamp": texts_of(battles, "time")}
