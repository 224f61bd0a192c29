"""PandaLM's test set: an instruction, two responses, and the votes of three annotators.

Source: `data/testset-v1.json` and `data/compute_metrics.py` in WeOpenML/PandaLM. `prompt` in place of `instruction`
is accepted for files of the same kind. `id` is added by pairrank, so that ids are read back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairrank.data.battles import MODELS, Battles, Winner
from pairrank.data.cells import detail_of, id_of, name_of, number_of, text_of
from pairrank.data.formats.base import (
    DamagedRowError,
    RowSchema,
    UnusableRowError,
    Vote,
    left_out,
    register,
    text_cell,
)
from pairrank.data.formats.vote import content_id
from pairrank.data.plain_texts import joined_prompt, single_texts
from pairrank.data.tables import Table

ANNOTATORS = ("annotator1", "annotator2", "annotator3")

WINNERS = {0: Winner.TIE, 1: Winner.A, 2: Winner.B}
"""Winners by their number in the file. Auto-J's numbers mean other winners."""


@register
class PandaLM(RowSchema):
    """One row per pair of responses, of which each annotator's vote becomes a battle."""

    about = "PandaLM's test set: an instruction, two responses and the votes of three annotators"
    required = ("response1", "response2")
    optional = ("id", "idx", "instruction", "prompt", "input", "cmp_key", "motivation_app", *ANNOTATORS)
    verdict = ANNOTATORS
    carries = (*MODELS, "judge", "category")

    @classmethod
    def accepts(cls, table: Table) -> bool:
        """Return whether there is a column for the prompt; either of two names is enough."""
        return bool({"instruction", "prompt"} & set(table.columns))

    def votes(self, row: Mapping[str, Any]) -> Iterator[Vote]:
        """Yield one battle per annotator who has voted. In a file without annotators, a row has no winner."""
        asked = text_cell(row, "instruction" if "instruction" in row else "prompt")
        prompt = (joined_prompt(asked, row.get("input")),)
        response_a, response_b = ((text_cell(row, name),) for name in ("response1", "response2"))
        own = id_of(row.get("id")) or id_of(row.get("idx"))
        texts = content_id(Vote(prompt, response_a, response_b))
        winners = _winners_of(row)
        models = _models_of(row.get("cmp_key"))
        for judge, winner in winners.items():
            # An id that pairrank has written belongs to a single vote already.
            ending = "" if not judge or (len(winners) == 1 and id_of(row.get("id"))) else f"-{judge}"
            yield Vote(
                prompt=prompt,
                response_a=response_a,
                response_b=response_b,
                winner=winner,
                id=own and f"{own}{ending}",
                name=ending and f"{texts}{ending}",
                model_a=models[0],
                model_b=models[1],
                judge=judge,
                category=detail_of(row.get("motivation_app")),
            )

    def columns(self, battles: Battles) -> dict[str, Sequence[Any]]:
        """Return the columns of the test set, with one vote per row; raises UserError for several turns."""
        texts = single_texts(battles, self.name)
        columns: dict[str, Sequence[Any]] = {
            "id": battles.id.tolist(),
            "instruction": texts["prompt"],
            "response1": texts["response_a"],
            "response2": texts["response_b"],
        }
        if keys := _keys_of(battles):
            columns["cmp_key"] = keys
        if battles.category is not None:
            columns["motivation_app"] = battles.category.tolist()
        if battles.winner is not None:
            numbers = {winner: number for number, winner in WINNERS.items()}
            votes = [numbers[Winner(winner)] for winner in battles.winner]
            judges = _judges_of(battles) or [ANNOTATORS[0]] * len(battles)
            for name in sorted(set(judges)):
                columns[name] = [v if judge == name else None for v, judge in zip(votes, judges, strict=True)]
        return columns

    def lost(self, battles: Battles) -> list[str]:
        """Return the columns that have no place, such as judges with other names than the annotators'."""
        models = MODELS if _keys_of(battles) else ()
        judges = ("judge",) if _judges_of(battles) else ()
        return left_out(battles, ("category", *models, *judges))


def _winners_of(row: Mapping[str, Any]) -> dict[str, Winner | None]:
    """Return the winner by annotator; {"": None} for a file without annotators."""
    present = [name for name in ANNOTATORS if name in row]
    if not present:
        return {"": None}
    winners: dict[str, Winner | None] = {}
    for name in present:
        try:
            number = number_of(row[name])
        except ValueError as fault:
            raise DamagedRowError(f"{name} {fault}") from None
        if number is not None:
            if number not in WINNERS:
                raise UnusableRowError("a vote is not 0, 1 or 2")
            winners[name] = WINNERS[int(number)]
    if not winners:
        raise UnusableRowError("no annotator has voted")
    return winners


def _models_of(cell: Any) -> tuple[str, str]:
    """Return the models that a `cmp_key` such as "llama-7b_opt-7b" names."""
    names = text_of(cell).split("_")
    return (name_of(names[0]), name_of(names[1])) if len(names) == 2 else ("", "")


def _keys_of(battles: Battles) -> list[str]:
    """Return the `cmp_key` of each battle; an empty list if there are no names or if one contains an underscore."""
    if battles.model_a is None or battles.model_b is None:
        return []
    keys = [f"{a}_{b}" for a, b in zip(battles.model_a, battles.model_b, strict=True)]
    return keys if all(key.count("_") == 1 for key in keys) else []


def _judges_of(battles: Battles) -> list[str]:
    """Return who has voted, if all of them are annotators of the file; otherwise an empty list."""
    if battles.judge is None or battles.winner is None or not set(battles.judge) <= set(ANNOTATORS):
        return []
    return [*battles.judge]
