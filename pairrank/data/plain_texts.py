"""Files of single exchanges have one plain text per cell: a prompt of one turn, and one answer on each side."""

from typing import Any

from pairrank.data.battles import TEXTS, Battles
from pairrank.errors import UserError, shorten


def single_texts(battles: Battles, schema: str) -> dict[str, list[str]]:
    """Return the texts by column. Raises UserError if a battle has several turns, for which there is no place."""
    for name in TEXTS:
        for row, turns in enumerate(getattr(battles, name)):
            if len(turns) != 1:
                raise UserError(
                    f"schema {schema}: id {shorten(battles.id[row], 100)} has {len(turns)} turns, expected 1. "
                    "Choose a schema that holds conversations, such as kaggle."
                )
    return {name: [turns[0] for turns in getattr(battles, name)] for name in TEXTS}


def joined_prompt(instruction: str, given: Any) -> str:
    """Return an instruction and, below it, the text that it is about, if there is one."""
    given = given if isinstance(given, str) else ""
    return f"{instruction}\n\n{given}" if given.strip() else instruction
