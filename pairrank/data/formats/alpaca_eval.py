"""AlpacaEval annotations: an instruction, the outputs of a reference and of a model, and a preference from 1 to 2.

Source: `results/*/annotations.json` in tatsu-lab/alpaca_eval, whose code reads a preference of 0 as a draw, too.
`input` and `annotator_index`, which AlpacaFarm's human annotations have, are from memory, not verified. `id` is
added by pairrank, so that ids are read back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, name_of, number_of
from pairrank.data.formats.base import (
    DamagedRowError,
    RowSchema,
    UnusableRowError,
    Vote,
    left_out,
    register,
    text_cell,
)
from pairrank.data.formats.vote import content_id, is_first
from pairrank.data.plain_texts import joined_prompt, single_texts
from pairrank.data.probabilities import SWAP, FloatArray, Proba
from pairrank.data.turns import Turns

TIE = 1.5
"""The preference for neither output."""


@register
class AlpacaEval(RowSchema):
    """One row per judgement. As `output_1` is always the reference, the sides are drawn.

    A fractional preference p, by an annotator that gives probabilities, is a soft winner: 2 - p for `output_1`,
    p - 1 for `output_2`, nothing for a tie. The winner is the likelier output.
    """

    about = "AlpacaEval annotations: an instruction, two outputs and a preference from 1 to 2"
    required = ("instruction", "output_1", "output_2")
    optional = (
        "id",
        "input",
        "generator_1",
        "generator_2",
        "annotator",
        "annotator_index",
        "preference",
        "dataset",
    )
    verdict = ("preference",)
    carries = ("model_a", "model_b", "judge", "category", "soft")

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield the judgement of a row."""
        prompt = (joined_prompt(text_cell(row, "instruction"), row.get("input")),)
        outputs: list[Turns] = [(text_cell(row, name),) for name in ("output_1", "output_2")]
        models = [name_of(row.get(name)) for name in ("generator_1", "generator_2")]
        winner, soft = _preference_of(row)
        if not is_first(prompt, *outputs):
            outputs.reverse()
            models.reverse()
            if winner is not None and soft is not None:
                winner, soft = SWAP[winner], (soft[1], soft[0], soft[2])
        vote = Vote(
            prompt=prompt,
            response_a=outputs[0],
            response_b=outputs[1],
            winner=winner,
            soft=soft,
            model_a=models[0],
            model_b=models[1],
            judge=detail_of(row.get("annotator")) or id_of(row.get("annotator_index")),
            category=detail_of(row.get("dataset")),
        )
        # Several annotators judge the same outputs, and models agree.
        named = "-".join(filter(None, (content_id(vote), vote.model_a, vote.model_b, vote.judge)))
        yield replace(vote, id=id_of(row.get("id")), name=named if vote.judge else "")

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of AlpacaEval; raises UserError for several turns.

        The sides are drawn again when the file is read, so that a battle may come back with exchanged sides.
        """
        battles = _drawn(battles)
        texts = single_texts(battles, self.name)
        columns: dict[str, Sequence[Any]] = {
            "id": battles.id.tolist(),
            "instruction": texts["prompt"],
            "output_1": texts["response_a"],
            "output_2": texts["response_b"],
        }
        if battles.model_a is not None and battles.model_b is not None:
            columns |= {"generator_1": battles.model_a.tolist(), "generator_2": battles.model_b.tolist()}
        if battles.judge is not None:
            columns["annotator"] = battles.judge.tolist()
        if battles.category is not None:
            columns["dataset"] = battles.category.tolist()
        if battles.winner is not None:
            soft = battles.soft if _holds_soft(battles) else None
            columns["preference"] = _preferences(np.eye(3)[battles.winner] if soft is None else soft).tolist()
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns that have no place; soft winners have one if none of them is partly a tie."""
        soft = ("soft",) if _holds_soft(battles) else ()
        return left_out(battles, (*MODELS, "judge", "category", *soft))


def _preference_of(row: Mapping[str, Any]) -> tuple[int | None, tuple[float, float, float] | None]:
    """Return the winner and the soft winner, with `output_1` as answer A; None for a file without preferences."""
    if "preference" not in row:
        return None, None
    try:
        preference = number_of(row["preference"])
    except ValueError as fault:
        raise DamagedRowError(f"preference {fault}") from None
    if preference is None:
        raise UnusableRowError("preference is missing")
    if preference in (0, TIE):
        return Winner.TIE, (0.0, 0.0, 1.0)
    if not 1 <= preference <= 2:  # NaN, too
        raise UnusableRowError("preference is not from 1 to 2")
    return Winner.A if preference < TIE else Winner.B, (2 - preference, preference - 1, 0.0)


def _preferences(soft: Proba) -> FloatArray:
    """Return the preferences that stand for soft winners."""
    return np.where(soft[:, Winner.TIE] == 1, TIE, 1 + soft[:, Winner.B])


def _holds_soft(battles: Battles) -> bool:
    """Return whether every soft winner is one preference value, and its likelier answer the winner."""
    if battles.soft is None or battles.winner is None:
        return False
    soft = battles.soft
    is_tie = (soft == [0, 0, 1]).all(axis=1)
    is_share = (soft[:, Winner.TIE] == 0) & (soft >= 0).all(axis=1) & np.isclose(soft.sum(axis=1), 1, atol=1e-9)
    preference = _preferences(soft)
    told = np.select([preference < TIE, preference > TIE], [Winner.A, Winner.B], Winner.TIE)
    # Half and half would come back as a tie.
    return bool(((is_tie | (is_share & (preference != TIE))) & (told == battles.winner)).all())


def _drawn(battles: Battles) -> Battles:
    """Return the battles with the sides that are drawn when they are read."""
    texts = zip(battles.prompt, battles.response_a, battles.response_b, strict=True)
    first = np.array([is_first(*three) for three in texts], dtype=bool)
    if first.all():
        return battles
    columns: dict[str, Any] = {}
    for name, other in battles.swap().columns().items():
        mine = getattr(battles, name)
        if mine is not None and other is not None:
            keep = first.reshape(-1, *[1] * (mine.ndim - 1))
            columns[name] = np.where(keep, mine, other)
    return replace(battles, **columns)
