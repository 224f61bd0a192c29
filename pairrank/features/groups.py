"""Groups of features are functions that measure texts: those of pairrank, and those of the user's own code."""

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pairrank import plugins
from pairrank.errors import UserError, excerpt, unknown_name
from pairrank.features.contexts import PAIRS, PROMPTS
from pairrank.features.sides import SIDES

GROUPS = tuple(dict.fromkeys([*SIDES, *PROMPTS, *PAIRS]))
"""Names of all groups of pairrank."""

DEFAULT_GROUPS = ("length", "turns", "repetition", "refusal", "words", "relevance", "prompt", "similarity")
"""The groups that models use by default, written out: another group never enters an existing experiment by itself.

"style", Markdown and punctuation, made all learners worse.
"""

Measure = Callable[..., dict[str, float]]


class Group(NamedTuple):
    """The measurements of one group."""

    name: str
    side: Measure | None
    """Measures an answer, given its prompt."""
    prompt: Measure | None
    """Measures a prompt."""
    pair: Measure | None
    """Measures two answers regardless of their order."""


PARAMETERS = {("answer", "prompt"): "side", ("prompt",): "prompt", ("a", "b"): "pair"}
"""Names of the parameters of a function of the user's own, which tell what it measures."""


def find_group(name: str) -> Group:
    """Return the group of this name, which may be a function in code that the user has loaded: "mine.py:tempo".

    Raises UserError for an unknown name, code that is not loaded, and a function with other parameters than
    `PARAMETERS` lists.
    """
    if name in GROUPS:
        plugins.refuse_twin("features", name)
        return Group(name, SIDES.get(name), PROMPTS.get(name), PAIRS.get(name))
    if name not in plugins.installed("features") and not plugins.is_reference(name):
        known = [*GROUPS, *plugins.installed("features")]
        raise UserError(unknown_name("group of features", name, known))
    return _own_group(name, plugins.find("features", name))


def group_complaints(groups: Sequence[str], *, needs_sides: bool = False, name: str = "groups") -> list[str]:
    """Return a complaint for each unknown group, and one if `needs_sides` and no group measures the answers.

    `name` is the parameter that lists the groups.
    """
    found: list[Group] = []
    complaints: list[str] = []
    for group in groups:
        try:
            found.append(find_group(group))
        except UserError as error:
            complaints.append(str(error))
    if needs_sides and not any(group.side for group in found):
        listed = ", ".join(SIDES)
        complaints.append(
            f"{name} = {list(groups)}: these groups do not distinguish A from B. Add one of {listed}."
        )
    return complaints


def own_group(reference: str, folder: Path) -> str:
    """Load the code that the user names as a group of features, and return the group's name."""
    return plugins.canonical(reference, folder, lambda value: _kind_of(value) != "", "group of features")


@cache
def _own_group(name: str, function: Any) -> Group:
    """Return the group of a function of the user's own."""
    kind = _kind_of(function)
    if not kind:
        listed = ", ".join(f"({', '.join(names)})" for names in PARAMETERS)
        raise UserError(f"{name}: found {excerpt(function, 80)}, expected a function with the parameters {listed}.")
    side, prompt, pair = (_checked(name, function) if kind == each else None for each in PARAMETERS.values())
    return Group(name, side, prompt, pair)


def _kind_of(function: Any) -> str:
    """Return the field of `Group` that a function is for; "" if it is no such function."""
    return PARAMETERS.get(tuple(inspect.signature(function).parameters), "") if inspect.isfunction(function) else ""


def _checked(name: str, function: Measure) -> Measure:
    """Return the function with a check of what it returns: the same names for all texts, and finite numbers."""
    names: list[str] = []

    def measure(*texts: Any) -> dict[str, float]:
        found = function(*texts)
        if not isinstance(found, Mapping) or not all(_is_finite(value) for value in found.values()):
            raise UserError(f"{name}: found {excerpt(found, 200)}, expected finite numbers by name.")
        names[:] = names or list(found)
        if list(found) != names:
            raise UserError(f"{name}: measured {list(found)}, expected the same names for all texts: {names}.")
        return dict(found)

    return measure


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)
