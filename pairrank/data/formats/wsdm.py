"""The files of Kaggle's "WSDM Cup - Multilingual Chatbot Arena": plain texts, and a winner that is never a tie.

Source: the competition's data page, as quoted in the README of Ekaterina-Gorodkova/Project_DL on GitHub. Its test
files have no `winner` and are read as plain files of schema kaggle.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, name_of
from pairrank.data.formats.base import RowSchema, Vote, left_out, register, text_cell
from pairrank.data.formats.pairs import given, labels_of, plain_cell, word_of, words_of
from pairrank.data.tables import Table
from pairrank.data.turns import parse_turns
from pairrank.errors import UserError

OUTCOMES = {"model_a": Winner.A, "model_b": Winner.B}
"""Winners by the words of the file."""


@register
class Wsdm(RowSchema):
    """One row per battle of a single turn. A text that looks like a JSON list is a plain text, too."""

    about = "Kaggle's WSDM Cup, Multilingual Chatbot Arena"
    required = ("id", *TEXTS, "winner")
    optional = (*MODELS, "language")
    verdict = ("winner",)
    carries = (*MODELS, "language")

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the winners of the first rows, if any, are words of this competition."""
        if set(WINNERS) <= set(table.columns):  # a file of schema kaggle with a column of its own
            return False
        texts = [cell for cell in table.cells["prompt"] if isinstance(cell, str) and cell.strip()]
        if texts and all(parse_turns(text)[1] == "" for text in texts):  # lists of turns, as in schema kaggle
            return False
        words = {name_of(cell).lower() for cell in table.cells["winner"]} - {""}
        return not words or bool(words & OUTCOMES.keys())

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the one battle of a row."""
        word = word_of(row, OUTCOMES)
        prompt, response_a, response_b = ((text_cell(row, name),) for name in TEXTS)
        yield Vote(
            prompt,
            response_a,
            response_b,
            winner=OUTCOMES.get(word),
            id=id_of(plain_cell(row, "id")),
            model_a=name_of(plain_cell(row, "model_a")),
            model_b=name_of(plain_cell(row, "model_b")),
            language=detail_of(row.get("language")),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the competition's columns; raises UserError for ties, several turns and missing winners."""
        ties = int((labels_of(self.name, battles) == Winner.TIE).sum())
        longer = sum(len(turns) > 1 for turns in battles.prompt)
        complaints = [f"{ties:,} battles are ties"] * bool(ties)
        complaints += [f"{longer:,} prompts have several turns"] * bool(longer)
        if complaints:
            raise UserError(
                f"schema {self.name}: {', '.join(complaints)}. It cannot hold them. Choose another one."
            )
        texts = {name: ["\n".join(turns) for turns in getattr(battles, name)] for name in TEXTS}
        names = {"model_a": "model_a", "model_b": "model_b", "language": "language"}
        return {
            "id": battles.id.tolist(),
            **texts,
            "winner": words_of(self.name, battles, OUTCOMES),
            **given(battles, names),
        }

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns that have no place in the file."""
        return left_out(battles, self.carries)
