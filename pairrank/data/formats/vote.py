"""A row of a file becomes votes: battles as the file describes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from numbers import Integral, Real
from typing import Any

import numpy as np

from pairrank.data.battles import DETAILS, MODELS, TEXTS, Battles, Winner, object_array
from pairrank.data.cells import name_of, text_of
from pairrank.data.probabilities import Labels
from pairrank.data.turns import Turns, repair_text
from pairrank.errors import excerpt


@dataclass(frozen=True)
class Vote:
    """One battle as a row of a file describes it."""

    prompt: Turns
    response_a: Turns
    response_b: Turns
    winner: int | None = None
    """A `Winner`; None if the row does not say."""
    soft: tuple[float, float, float] | None = None
    """Probabilities of A, B and tie, in place of a single winner."""
    strength: float = 0.0
    """How much better A is than B, from -1 to 1; 0 if it is a tie or not known."""
    both_bad: bool = False
    """Whether the voter called both answers bad; the winner is then a tie."""
    weight: float = 1.0
    id: str = ""
    """The file's own id; "" gives an id that is made up from `name`."""
    name: str = ""
    """What a made-up id begins with; "" gives a hash of the texts."""
    variant: str = ""
    """What a made-up id continues with if an earlier battle has the same name, such as a subset."""
    model_a: str = ""
    model_b: str = ""
    group: str = ""
    """What must not be divided between folds besides the prompt: a session, a user, a question."""
    judge: str = ""
    language: str = ""
    category: str = ""
    time: str = ""


class UnusableRowError(ValueError):
    """A row holds no battle, for a reason that many rows may share, as in public files. Such rows are counted."""


class DamagedRowError(ValueError):
    """A row is damaged: a complaint about it, such as "prompt is 3, expected messages"."""


UNCLEAR = -1
"""The winner of a row that does not say who has won. It is used while a file is read only."""

CARRIED = (*MODELS, *DETAILS, "both_bad", "strength", "weight", "soft")
"""Fields of `Vote` that may become columns of battles."""


def fault_of(vote: Any) -> str:
    """Return what is wrong with the fields of a vote; "" if nothing is. It is for schemas of the user's own."""
    if not isinstance(vote, Vote):
        return f"gives {excerpt(vote, 40)}, expected a list of votes"
    return _text_fault(vote) or _number_fault(vote)


def _text_fault(vote: Vote) -> str:
    for name in TEXTS:
        turns = getattr(vote, name)
        if not isinstance(turns, tuple | list):
            return f"{name} is {excerpt(turns, 40)}, expected a tuple of turns, such as (text,)"
        if wrong := [turn for turn in turns if not isinstance(turn, str)]:
            return f"{name} contains {excerpt(wrong[0], 40)}, expected text in every turn"
    lengths = [len(getattr(vote, name)) or 1 for name in TEXTS]
    if len(set(lengths)) > 1:
        counts = ", ".join(f"{n} in {name}" for n, name in zip(lengths, TEXTS, strict=True))
        return f"unequal turns ({counts}), expected one answer per prompt turn"
    for name in ("id", "name", "variant", *MODELS, *DETAILS):
        if not isinstance(found := getattr(vote, name), str):
            return f"{name} is {excerpt(found, 40)}, expected text"
    return ""


def _number_fault(vote: Vote) -> str:
    if vote.winner is not None and not (_is(vote.winner, Integral) and vote.winner in list(Winner)):
        return f"winner is {excerpt(vote.winner, 40)}, expected a Winner or None"
    if vote.soft is not None and not _are_probabilities(vote.soft):
        return f"soft is {excerpt(vote.soft, 40)}, expected three probabilities that sum to 1"
    if not (_is(vote.strength, Real) and abs(vote.strength) <= 1):
        return f"strength is {excerpt(vote.strength, 40)}, expected a number from -1 to 1"
    if not (_is(vote.weight, Real) and 0 < vote.weight < math.inf):
        return f"weight is {excerpt(vote.weight, 40)}, expected a finite number above 0"
    if vote.both_bad and vote.winner not in (None, Winner.TIE):
        return "both_bad is true, expected a tie as winner"
    return ""


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _are_probabilities(values: Any) -> bool:
    return (
        isinstance(values, tuple | list)
        and len(values) == 3
        and all(_is(each, Real) and 0 <= each <= 1 for each in values)
        and abs(sum(values) - 1) < 1e-6
    )


def battles_of(votes: Sequence[Vote], ids: Sequence[str], carries: Sequence[str]) -> tuple[Battles, Labels]:
    """Return a table of votes with the columns that `carries` names, and the winners or `UNCLEAR`."""
    columns: dict[str, Any] = {
        name: object_array([tuple(map(repair_text, getattr(vote, name))) or ("",) for vote in votes])
        for name in ("prompt", "response_a", "response_b")
    }
    columns["id"] = object_array(ids)
    for name in ("model_a", "model_b"):
        if name in carries:
            columns[name] = object_array([name_of(getattr(vote, name)) for vote in votes])
    for name in DETAILS:
        if name in carries:
            columns[name] = object_array([text_of(getattr(vote, name)) for vote in votes])
    if "both_bad" in carries:
        columns["both_bad"] = np.array([vote.both_bad for vote in votes], dtype=bool)
    if "strength" in carries:
        columns["strength"] = np.array([vote.strength for vote in votes], dtype=np.float64)
    if "weight" in carries:
        columns["weight"] = np.array([vote.weight for vote in votes], dtype=np.float64)
    if "soft" in carries:
        columns["soft"] = np.array([_soft_of(vote) for vote in votes], dtype=np.float64).reshape(len(votes), 3)
    winner = np.array([UNCLEAR if vote.winner is None else vote.winner for vote in votes], dtype=np.int64)
    return Battles(**columns), winner


def _soft_of(vote: Vote) -> tuple[float, float, float]:
    if vote.soft is not None:
        return vote.soft
    winner = Winner.TIE if vote.winner is None else vote.winner
    return (float(winner == Winner.A), float(winner == Winner.B), float(winner == Winner.TIE))


def content_id(vote: Vote) -> str:
    """Return 16 hexadecimal digits that identify the texts of a battle, for files that have no ids."""
    parts = (vote.prompt, vote.response_a, vote.response_b)
    text = "\0\0".join("\0".join(map(repair_text, part)) for part in parts)
    return sha256(text.encode()).hexdigest()[:16]


def is_first(prompt: Turns, one: Turns, other: Turns) -> bool:
    """Return whether `one` of two answers is answer A, drawn by a hash of all texts.

    Files of chosen and rejected answers, and those with a fixed reference, would otherwise have the same winner or
    model on one side throughout. The draw depends on which texts there are, and not on which of them was preferred.
    """
    smaller, larger = sorted((one, other))
    text = "\0\0".join("\0".join(map(repair_text, part)) for part in (prompt, smaller, larger))
    drawn = sha256(text.encode()).digest()[0] % 2 == 0
    return (one == smaller) == drawn
