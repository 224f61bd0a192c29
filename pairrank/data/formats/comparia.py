"""The votes of compar:IA, the French government's chatbot arena; the winner is given by its name.

Source: the card of ministere-culture/comparia-votes (columns id to opening_msg) and, for the other columns, the
statements that write the table `votes` in betagouv/ComparIA on GitHub. `languages` and `categories` are columns of
the sister data set comparia-conversations there; that the votes have them is from memory, not verified.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import decoded, detail_of, flag_of, id_of, name_of
from pairrank.data.conversations import Message
from pairrank.data.formats.base import DamagedRowError, RowSchema, UnusableRowError, Vote, left_out, register
from pairrank.data.formats.pairs import (
    conversations_of,
    has_conversations,
    is_missing,
    labels_of,
    messages_in,
    paired,
    plain_cell,
    texts_of,
)
from pairrank.data.tables import Table
from pairrank.errors import UserError, excerpt


@register
class Comparia(RowSchema):
    """One row per vote on two whole conversations."""

    about = "compar:IA's votes, mostly in French"
    required = (
        "model_a_name",
        "model_b_name",
        "conversation_a",
        "conversation_b",
    )
    optional = (
        "chosen_model_name",
        "both_equal",
        "id",
        "conversation_pair_id",
        "session_hash",
        "visitor_id",
        "timestamp",
        "selected_category",
        "categories",
        "languages",
    )
    verdict = ("chosen_model_name", "both_equal")
    carries = (*MODELS, "group", "judge", "language", "category", "time")

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the first rows have conversations."""
        return has_conversations(table)

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the one battle of a row."""
        winner = _winner_of(row)
        prompt, response_a, response_b = paired(_spoken(row, "conversation_a"), _spoken(row, "conversation_b"))
        conversation = id_of(plain_cell(row, "conversation_pair_id"))
        yield Vote(
            prompt,
            response_a,
            response_b,
            winner=winner,
            id=id_of(plain_cell(row, "id")) or conversation,
            model_a=name_of(plain_cell(row, "model_a_name")),
            model_b=name_of(plain_cell(row, "model_b_name")),
            group=detail_of(row.get("session_hash")) or conversation,
            judge=detail_of(row.get("visitor_id")),
            language=detail_of(decoded(row.get("languages"))),
            category=detail_of(decoded(row.get("categories"))) or detail_of(row.get("selected_category")),
            time=detail_of(row.get("timestamp")),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles.

        Raises UserError without winners, and for decided battles whose models have no two different names.
        """
        labels = labels_of(self.name, battles).tolist()
        names = list(zip(*(map(name_of, texts_of(battles, name)) for name in MODELS), strict=True))
        chosen = [None if label == Winner.TIE else pair[label] for label, pair in zip(labels, names, strict=True)]
        unclear = sum(
            name is not None and (not name or one == other)
            for name, (one, other) in zip(chosen, names, strict=True)
        )
        if unclear:
            raise UserError(
                f"schema {self.name}: {unclear:,} winners have no name, or the same name as the loser, and this "
                "schema tells winners by their names. Choose another one."
            )
        columns: dict[str, Sequence[Any]] = {
            "id": battles.id.tolist(),
            "model_a_name": texts_of(battles, "model_a"),
            "model_b_name": texts_of(battles, "model_b"),
            "chosen_model_name": chosen,
            "both_equal": [name is None for name in chosen],
            **{f"conversation_{side}": conversations_of(battles, side) for side in "ab"},
        }
        for name, ours in (("group", "session_hash"), ("judge", "visitor_id"), ("time", "timestamp")):
            if getattr(battles, name) is not None:
                columns[ours] = texts_of(battles, name)
        for name, ours in (("language", "languages"), ("category", "categories")):
            if getattr(battles, name) is not None:
                columns[ours] = [text.split(",") if text else [] for text in texts_of(battles, name)]
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns that have no place in the file."""
        return left_out(battles, self.carries)


def _winner_of(row: Mapping[str, Any]) -> Winner | None:
    """Return who was chosen; raises UnusableRowError if nobody was, or if that name fits neither model or both."""
    if not set(Comparia.verdict) & row.keys():
        return None
    chosen, one, other = (
        name_of(plain_cell(row, name)) for name in ("chosen_model_name", "model_a_name", "model_b_name")
    )
    if not chosen:
        return _tie_of(row)
    if chosen not in (one, other):
        raise UnusableRowError("the chosen model is neither of the two")
    if one == other:
        raise UnusableRowError("both models have the chosen name")
    return Winner.A if chosen == one else Winner.B


def _tie_of(row: Mapping[str, Any]) -> Winner:
    """Return a tie if the row says that both are equal; raises UnusableRowError if not."""
    cell = plain_cell(row, "both_equal")
    flag = flag_of(cell)
    if flag == 1:
        return Winner.TIE
    if flag == 0 or is_missing(cell):
        raise UnusableRowError("no model is chosen")
    raise DamagedRowError(f"both_equal is {excerpt(cell, 40)}, expected true or false")


def _spoken(row: Mapping[str, Any], name: str) -> list[Message]:
    """Return the messages of a conversation without the system's.

    Voters do not see them, and they may differ between the sides, because each model has its own.
    """
    return [message for message in messages_in(row, name) if message.role != "system"]
