"""Auto-J's pairwise test set: a prompt, two responses, a label and the scenario of the prompt.

Source: the section "Pairwise response comparison" of the README of GAIR-NLP/auto-j. `id` is added by pairrank, so
that ids are read back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import Battles, Winner
from pairrank.data.cells import detail_of, id_of, number_of
from pairrank.data.formats.base import (
    DamagedRowError,
    RowSchema,
    UnusableRowError,
    Vote,
    left_out,
    register,
    text_cell,
)
from pairrank.data.plain_texts import single_texts


@register
class AutoJ(RowSchema):
    """One row per battle. Its label is a `Winner`: 0 for the first response, 1 for the second, 2 for a tie."""

    about = "Auto-J's pairwise test set: a prompt, two responses, a label and a scenario"
    required = ("prompt", "response 1", "response 2")
    optional = ("id", "label", "scenario")
    verdict = ("label",)
    carries = ("category",)

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the battle of a row."""
        yield Vote(
            prompt=(text_cell(row, "prompt"),),
            response_a=(text_cell(row, "response 1"),),
            response_b=(text_cell(row, "response 2"),),
            winner=_winner_of(row),
            id=id_of(row.get("id")),
            category=detail_of(row.get("scenario")),
        )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of the test set; raises UserError for several turns."""
        texts = single_texts(battles, self.name)
        columns: dict[str, Sequence[Any]] = {"id": battles.id.tolist()}
        if battles.category is not None:
            columns["scenario"] = battles.category.tolist()
        if battles.winner is not None:
            columns["label"] = battles.winner.tolist()
        return columns | {
            "prompt": texts["prompt"],
            "response 1": texts["response_a"],
            "response 2": texts["response_b"],
        }

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides ids, texts, winners and scenarios."""
        return left_out(battles, ("category",))


def _winner_of(row: Mapping[str, Any]) -> Winner | None:
    """Return the winner of a row; None for a file without labels."""
    if "label" not in row:
        return None
    try:
        label = number_of(row["label"])
    except ValueError as fault:
        raise DamagedRowError(f"label {fault}") from None
    if label is None:
        raise UnusableRowError("label is missing")
    if label not in tuple(Winner):
        raise UnusableRowError("label is not 0, 1 or 2")
    return Winner(int(label))
