"""The judgments of MT-bench: experts or GPT-4 compare two models' answers to one question, turn by turn.

Source: the data set card of lmsys/mt_bench_human_judgments, as copied in FasterDFlash/Hanrui. Several
public programs that read the rows of GPT-4 tell that these also contain "tie (inconsistent)".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, name_of, text_of
from pairrank.data.formats.base import DamagedRowError, RowSchema, Vote, left_out, register
from pairrank.data.formats.pairs import (
    conversations_of,
    has_conversations,
    plain_cell,
    sides_of,
    texts_of,
    word_of,
    words_of,
)
from pairrank.data.tables import Table
from pairrank.errors import excerpt

# A tie is inconsistent if GPT-4 preferred another answer after the sides were exchanged.
OUTCOMES = {"model_a": Winner.A, "model_b": Winner.B, "tie": Winner.TIE, "tie (inconsistent)": Winner.TIE}
"""Winners by the words of the file."""


@register
class MtBench(RowSchema):
    """One row per judgment. Rows of several judges on the same answers stay several battles of one group."""

    about = "MT-bench's judgments by experts and by GPT-4"
    required = ("question_id", "model_a", "model_b", "judge", "conversation_a", "conversation_b")
    # Original files have no `id`; pairrank writes it so that ids of any form are read back.
    optional = ("winner", "turn", "id")
    verdict = ("winner",)
    carries = (*MODELS, "group", "judge")

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether the rows are not those of Chatbot Arena, which have a time or a language besides."""
        return not {"tstamp", "language"} & set(table.columns) and has_conversations(table)

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the one battle of a row, with the conversation up to the turn that was judged."""
        winner = OUTCOMES.get(word_of(row, OUTCOMES))
        turn = _turn_of(row)
        prompt, response_a, response_b = (turns[:turn] for turns in sides_of(row))
        yield Vote(
            prompt,
            response_a,
            response_b,
            winner=winner,
            id=id_of(plain_cell(row, "id")),
            name=_name_of(row),
            model_a=name_of(plain_cell(row, "model_a")),
            model_b=name_of(plain_cell(row, "model_b")),
            group=id_of(plain_cell(row, "question_id")),
            judge=_judge_of(row),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of a file with these battles; raises UserError without winners.

        A battle without a group is a question of its own.
        """
        groups = zip(texts_of(battles, "group"), battles.id.tolist(), strict=True)
        return {
            "id": battles.id.tolist(),
            "question_id": [group or own for group, own in groups],
            **{name: texts_of(battles, name) for name in MODELS},
            "winner": words_of(self.name, battles, OUTCOMES),
            "judge": texts_of(battles, "judge"),
            **{f"conversation_{side}": conversations_of(battles, side) for side in "ab"},
            "turn": [len(turns) for turns in battles.prompt],
        }

    def lost(self, battles: Battles) -> list[str]:
        """Return the names of the columns that have no place in the file."""
        return left_out(battles, self.carries)


def _name_of(row: Mapping[str, Any]) -> str:
    """Return all that tells one judgment from others, except that a judge may look at a pair twice."""
    cells = [plain_cell(row, name) for name in ("question_id", *MODELS)]
    return "-".join(filter(None, [*map(id_of, cells), _judge_of(row), str(_turn_of(row) or "")]))


def _turn_of(row: Mapping[str, Any]) -> int | None:
    """Return the number of the turn that was judged, from 1; None if the row does not say."""
    text = id_of(plain_cell(row, "turn"))
    if not text:
        return None
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise DamagedRowError(f"turn is {excerpt(row['turn'], 40)}, expected a number from 1")
    return int(text)


def _judge_of(row: Mapping[str, Any]) -> str:
    """Return the judge, whom raw files name by a list of a model and its prompt."""
    cell = row.get("judge")
    if isinstance(cell, list | tuple):
        return "-".join(map(text_of, cell))
    return detail_of(cell)
