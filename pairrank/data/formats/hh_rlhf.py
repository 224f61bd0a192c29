r"""The data set hh-rlhf: two transcripts of a conversation with an assistant, of which a human chose one.

Source: the card of the public data set hh-rlhf for chosen and rejected. That each transcript begins with
"\n\nHuman:" and alternates with "\n\nAssistant:" is from the project's notes and from memory, not verified. `id` is
a column of files that pairrank writes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.cells import id_of
from pairrank.data.conversations import ConversationError, Message, paired_turns
from pairrank.data.formats.base import RowSchema, UnusableRowError, Vote, left_out, register, text_cell
from pairrank.data.formats.pairs import are_transcripts, chosen_is_a, preference
from pairrank.data.tables import Table
from pairrank.data.turns import Turns
from pairrank.errors import UserError, shorten

SPEAKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
"""What stands before each turn."""

ROLES = {"Human": "user", "Assistant": "assistant"}


@register
class HhRlhf(RowSchema):
    """One row per pair of transcripts, whose last answers differ."""

    about = "hh-rlhf: chosen and rejected transcripts"
    required = ("chosen", "rejected")
    optional = ("id",)

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the first texts are transcripts."""
        return are_transcripts(table)

    def votes(self, row: Mapping[str, Any]) -> list[Vote]:
        """Return the vote for the last answer of the chosen transcript."""
        chosen, rejected = (_messages(row, name) for name in ("chosen", "rejected"))
        try:
            turns = paired_turns(chosen, rejected)
        except ConversationError:
            raise UnusableRowError("the human's turns differ") from None
        return [replace(preference(*turns), id=id_of(row.get("id")))]

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return both transcripts."""
        is_a = chosen_is_a(battles, self.name)
        columns: dict[str, Any] = {"id": battles.id}
        for name, is_side_a in (("chosen", is_a), ("rejected", ~is_a)):
            answers = np.where(is_side_a, battles.response_a, battles.response_b)
            rows = zip(battles.id, battles.prompt, answers, strict=True)
            columns[name] = [_transcript(self.name, *row) for row in rows]
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides texts and winners."""
        return left_out(battles, ())


def _messages(row: Mapping[str, Any], name: str) -> list[Message]:
    """Return the turns of the transcript in a cell."""
    text = text_cell(row, name)
    if not text.strip():
        raise UnusableRowError(f"{name} is missing")
    before, *pieces = SPEAKER.split(text)
    if before.strip() or not pieces:
        raise UnusableRowError(f"{name} is not a transcript")
    return [
        # One space separates the colon from the text and is not part of it.
        Message(ROLES[speaker], said.removeprefix(" "))
        for speaker, said in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _transcript(schema: str, name: str, prompt: Turns, answers: Turns) -> str:
    """Return a conversation as text; raises UserError if one of its turns holds what separates turns."""
    said = [
        (speaker, turn)
        for pair in zip(prompt, answers, strict=True)
        for speaker, turn in zip(ROLES, pair, strict=True)
    ]
    text = "".join(f"\n\n{speaker}: {turn}" for speaker, turn in said)
    if len(SPEAKER.findall(text)) > len(said):
        raise UserError(
            f"schema {schema}: id {shorten(name, 100)}: a turn contains a line that begins with 'Human:' or "
            "'Assistant:', which separates turns here. Choose another schema."
        )
    return text
