"""A row of a file becomes votes: battles as the file describes them."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from pairrank.data.battles import DETAILS, MODELS, TEXTS, Winner
from pairrank.data.turns import Turns
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
