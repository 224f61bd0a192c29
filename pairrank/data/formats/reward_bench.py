"""RewardBench, with one chosen and one rejected answer per row, and RewardBench 2, with lists of them.

Source: the cards of the public data sets allenai/reward-bench and allenai/reward-bench-2. Whether the ids of
RewardBench are unique in the file is not verified; an id that occurs again gets its subset appended, and then a
number.

A row of RewardBench 2 becomes all pairs of a chosen and a rejected answer. Their weights sum to 1, so that each
prompt counts once. This holds for its subset "Ties", too, in which several answers are equally right: they are not
compared with each other. In which order its column `models` names the models of the answers is not verified, so
those names stay unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from pairrank.data.battles import Battles, Winner
from pairrank.data.cells import detail_of, id_of, text_of
from pairrank.data.formats.base import (
    DamagedRowError,
    RowSchema,
    UnusableRowError,
    Vote,
    left_out,
    register,
    text_cell,
)
from pairrank.data.formats.pairs import chosen_is_a, preference
from pairrank.data.turns import DECODER
from pairrank.errors import UserError, excerpt

MOST_PAIRS = 1_000
"""Pairs of answers that one row may give."""


@register
class RewardBench(RowSchema):
    """One row per prompt, with chosen and rejected answers that are texts or lists of texts."""

    about = "RewardBench and RewardBench 2"
    required = ("id", "prompt", "chosen", "rejected", "subset")
    optional = ("chosen_model", "rejected_model", "num_correct")
    carries = ("model_a", "model_b", "category", "weight")

    def votes(self, row: Mapping[str, Any]) -> list[Vote]:
        """Return one vote per pair of a chosen and a rejected answer."""
        prompt = (text_cell(row, "prompt"),)
        chosen, rejected = _answers(row, "chosen"), _answers(row, "rejected")
        pairs = [(i, j) for i, j in product(range(len(chosen)), range(len(rejected))) if chosen[i] != rejected[j]]
        if not pairs:
            raise UnusableRowError("chosen and rejected are equal")
        if len(pairs) > MOST_PAIRS:
            raise DamagedRowError(f"{len(pairs):,} pairs of answers, expected at most {MOST_PAIRS:,}")
        name, is_single = id_of(row["id"]), len(chosen) * len(rejected) == 1
        return [
            replace(
                _named(preference(prompt, (chosen[i],), (rejected[j],)), row),
                name=name if is_single or not name else f"{name}-chosen-{i + 1}-rejected-{j + 1}",
                variant=detail_of(row["subset"]),
                category=detail_of(row["subset"]),
                weight=1 / len(pairs),
            )
            for i, j in pairs
        ]

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of RewardBench, with one pair of answers per row."""
        is_a = chosen_is_a(battles, self.name)
        if long := sum(len(turns) > 1 for turns in battles.prompt):
            raise UserError(
                f"schema {self.name}: {long:,} of the battles are conversations of several turns, expected a "
                "single prompt in each. Choose another schema."
            )
        columns: dict[str, Any] = {"id": battles.id, "prompt": [turns[0] for turns in battles.prompt]}
        for name, is_side_a in (("chosen", is_a), ("rejected", ~is_a)):
            answers = np.where(is_side_a, battles.response_a, battles.response_b)
            columns[name] = [turns[0] for turns in answers]
            if battles.model_a is not None and battles.model_b is not None:
                columns[f"{name}_model"] = np.where(is_side_a, battles.model_a, battles.model_b).tolist()
        columns["subset"] = [""] * len(battles) if battles.category is None else battles.category
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns besides texts, names, categories and winners, unless they say what is usual."""
        lost = left_out(battles, ("model_a", "model_b", "category"))
        return [name for name in lost if name != "weight" or (battles.weights != 1).any()]


def _named(vote: Vote, row: Mapping[str, Any]) -> Vote:
    """Return the vote with the models of both answers, as far as the row gives them."""
    chosen, rejected = (text_of(row.get(name)) for name in ("chosen_model", "rejected_model"))
    names = (chosen, rejected) if vote.winner == Winner.A else (rejected, chosen)
    return replace(vote, model_a=names[0], model_b=names[1])


def _answers(row: Mapping[str, Any], name: str) -> list[str]:
    """Return the answers in a cell, which is a text or a list of texts. Nulls in a list are left out."""
    cell = row[name]
    # A .csv file holds a list as JSON. An answer of RewardBench may be a JSON list itself, and is one text.
    if isinstance(cell, str) and "num_correct" in row:
        cell = _decoded(cell)
    if not isinstance(cell, list | tuple):
        return [text_cell(row, name)]
    answers = [each for each in cell if each is not None]
    if wrong := [each for each in answers if not isinstance(each, str)]:
        raise DamagedRowError(f"{name} contains {excerpt(wrong[0], 40)}, expected texts")
    if not answers:
        raise UnusableRowError(f"{name} is missing")
    return answers


def _decoded(text: str) -> Any:
    """Return the list that a text holds as JSON, or else the text itself."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, list) else text
