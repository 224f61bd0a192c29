"""The votes of Chatbot Arena and LMArena, whose files differ in the names of their columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, name_of
from pairrank.data.formats.base import RowSchema, Vote, left_out
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


class ArenaVotes(RowSchema):
    """One row per vote, with a conversation per side as a list of messages."""

    verdict = ("winner",)
    both_bad: ClassVar[str]
    """The winner of a vote that called both answers bad."""
    details: ClassVar[Mapping[str, tuple[str, ...]]]
    """Names of details, with the columns of which the first one that is not empty holds them.

    A category is read from all of its columns. Each detail is written in its first column.
    """

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the first rows have conversations, and not their numbers alone."""
        return has_conversations(table)

    def outcomes(self) -> dict[str, Winner]:
        """Return the winners by the words of the file."""
        return {"model_a": Winner.A, "model_b": Winner.B, "tie": Winner.TIE, self.both_bad: Winner.TIE}

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the one battle of a row."""
        outcomes = self.outcomes()
        word = word_of(row, outcomes)
        details: dict[str, Any] = {name: self._detail(row, name) for name in self.details}
        prompt, response_a, response_b = sides_of(row)
        yield Vote(
            prompt,
            response_a,
            response_b,
            winner=outcomes.get(word),
            both_bad=word == self.both_bad,
            id=id_of(plain_cell(row, self.own_id)),
            model_a=name_of(plain_cell(row, "model_a")),
            model_b=name_of(plain_cell(row, "model_b")),
            **details,
        )

    def _detail(self, row: Mapping[str, Any], name: str) -> str:
        columns = self.details[name]
        if name == "category":
            return category_of(row, *columns)
        return next(filter(None, (detail_of(row.get(column)) for column in columns)), "")

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError without winners."""
        return {
            self.own_id: battles.id.tolist(),
            **{name: texts_of(battles, name) for name in MODELS},
            "winner": words_of(self.name, battles, self.outcomes(), self.both_bad),
            **{f"conversation_{side}": conversations_of(battles, side) for side in "ab"},
            **given(battles, {name: columns[0] for name, columns in self.details.items()}),
        }

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns that have no place in the file."""
        return left_out(battles, self.carries)
