"""The table [search] of an experiment lists parameters that may change; it is checked before the first trial."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pairrank.errors import UserError, combined_error, unknown_name
from pairrank.models.base import model_class, parameters_of
from pairrank.nested import dotted_items, from_mapping, set_dotted
from pairrank.runs.experiment import Experiment

if TYPE_CHECKING:  # `describe` reads search tables without loading Optuna
    from optuna.trial import Trial

Settings = dict[str, Any]
"""Values by dotted key, as `--set` takes them: {"training.learning_rate": 3e-5}."""

RANGE = {"low", "high", "log", "step"}
ENTRY = {*RANGE, "choices", "when"}
"""The keys that the entry of one parameter may have."""

DIGITS = 4
"""Significant digits of values between `low` and `high`, so that a tuned file shows exactly what was tried."""

EXPECTED = "expected {low = …, high = …}, optionally with log = true or step = …, or a list of choices."
REMEDY = "docs/how-to/tune.md shows a [search] table."


@dataclass(frozen=True)
class Dimension:
    """One parameter that a search may change."""

    key: str
    own: Any
    """The experiment's own value, with which the search begins."""
    choices: tuple[Any, ...] = ()
    """The possible values; () for a range of numbers."""
    low: float = 0
    high: float = 0
    log: bool = False
    """Whether values are drawn uniformly on a logarithmic scale."""
    step: float = 0
    """Distance between two values; 0 means 1 for whole numbers and any distance for others."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The parameter is searched only if each of these other parameters has one of these values."""

    def is_active(self, values: Settings) -> bool:
        """Return whether the values chosen so far meet the conditions of this parameter."""
        return all(values.get(key) in wanted for key, wanted in self.when.items())

    def suggest(self, trial: "Trial") -> Any:
        """Return a value that the trial chooses."""
        if self.choices:
            named = {_name(choice): choice for choice in self.choices}
            return named[trial.suggest_categorical(self.key, tuple(named))]
        if isinstance(self.own, int):
            return trial.suggest_int(
                self.key, int(self.low), int(self.high), step=int(self.step) or 1, log=self.log
            )
        drawn = trial.suggest_float(self.key, self.low, self.high, step=self.step or None, log=self.log)
        rounded = float(f"{drawn:.{DIGITS}g}")
        return drawn if self.step or drawn == self.own else min(max(rounded, self.low), self.high)

    def ends(self) -> tuple[Any, ...]:
        """Return the choices, or both ends of the range: if the model accepts these, it accepts all."""
        kind = type(self.own)
        return self.choices or (kind(self.low), kind(self.high))


@dataclass(frozen=True)
class Space:
    """The parameters that a search may change; each comes after those that its conditions name."""

    dimensions: tuple[Dimension, ...]

    def suggest(self, trial: "Trial") -> Settings:
        """Return a setting that the trial chooses; a parameter that is not active keeps the experiment's value."""
        return self._decide(lambda dimension: dimension.suggest(trial))

    def own(self) -> Settings:
        """Return the experiment's own setting."""
        return self._decide(lambda dimension: dimension.own)

    def first_setting(self) -> Settings:
        """Return the experiment's own setting in the form that an Optuna trial takes."""
        own = self.own()
        return {d.key: _name(d.own) if d.choices else d.own for d in self.dimensions if d.key in own}

    def describe(self) -> str:
        """Return a text that identifies this space; the experiment's own values are left out."""
        parts = [{**vars(each), "own": None, "when": dict(each.when)} for each in self.dimensions]
        return json.dumps(parts, sort_keys=True)

    def _decide(self, value: Callable[[Dimension], Any]) -> Settings:
        """Return the values of the active parameters; an inactive one meets conditions with its own value."""
        decided: Settings = {}
        seen: Settings = {}
        for dimension in self.dimensions:
            seen[dimension.key] = dimension.own
            if dimension.is_active(seen):
                decided[dimension.key] = seen[dimension.key] = value(dimension)
        return decided


def changed(experiment: Experiment, settings: Settings) -> Experiment:
    """Return the experiment with these values; raises UserError if the model does not accept them."""
    parameters = dict(experiment.parameters)
    for key, value in settings.items():
        set_dotted(parameters, key, value)
    model = from_mapping(model_class(experiment.model), parameters, f"model {experiment.model!r}")
    return replace(experiment, parameters=parameters_of(model))


def read_space(experiment: Experiment) -> Space:
    """Return the search space of an experiment; raises UserError with all complaints about its table [search]."""
    place = f"[search] of {experiment.name}"
    if not experiment.search:
        raise UserError(
            f"{place}: there is no such table, so there is nothing to tune. Add one to its file, such as\n"
            "  [search]\n  penalty = {low = 1.0, high = 1000.0, log = true}"
        )
    own = dict(dotted_items(experiment.parameters))
    complaints: list[str] = []
    found: list[Dimension] = []
    for key, entry in search_entries(experiment.search):
        if key not in own:
            complaints.append(unknown_name("parameter", key, own))
            continue
        try:
            found.append(_dimension(key, own[key], entry))
        except UserError as error:
            complaints.append(f"{key}: {error}")
    if not complaints:
        complaints = _conditions(found)
    if not complaints:
        found = _in_order(found)
        complaints = [complaint for each in found if (complaint := _refused(experiment, each, found)) is not None]
    if complaints:
        raise combined_error(place, complaints, REMEDY)
    return Space(tuple(found))


def search_entries(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the entry of every parameter in a table [search].

    A table that holds none of the keys of an entry is a nested one, such as [search.training].
    """
    for key, value in table.items():
        if isinstance(value, Mapping) and value and not ENTRY & value.keys():
            yield from search_entries(value, f"{before}{key}.")
        else:
            yield before + key, value


def _dimension(key: str, own: Any, entry: Any) -> Dimension:
    """Return one checked entry; raises UserError if it cannot be searched."""
    if isinstance(entry, list):
        entry = {"choices": entry}
    if not isinstance(entry, Mapping):
        raise UserError(f"{entry!r}: {EXPECTED}")
    if wrong := [unknown_name("key of a range", name, ENTRY) for name in entry if name not in ENTRY]:
        raise UserError(" ".join(wrong))
    when = entry.get("when", {})
    if not isinstance(when, Mapping):
        raise UserError(f'when = {when!r}: expected a table such as {{learner = ["both", "lightgbm"]}}.')
    conditions = {name: tuple(value) if isinstance(value, list) else (value,) for name, value in when.items()}
    if "choices" in entry:
        if RANGE & entry.keys():
            raise UserError("choices and a range are given: expected only one of them.")
        return Dimension(key, own, _choices(entry["choices"], own), when=conditions)
    return _range(key, own, entry, conditions)


def _choices(choices: Any, own: Any) -> tuple[Any, ...]:
    """Return the choices in the type of the experiment's own value, which must be one of them."""
    if not isinstance(choices, list) or len(choices) < 2:
        raise UserError(f"choices = {choices!r}: expected a list of two or more values.")
    # TOML has no tuples, and people write 1 for 1.0.
    made = [
        tuple(choice)
        if isinstance(own, tuple) and isinstance(choice, list)
        else float(choice)
        if isinstance(own, float) and type(choice) is int
        else choice
        for choice in choices
    ]
    names = [_name(choice) for choice in made]
    if len(set(map(repr, names))) < len(names):
        raise UserError(f"choices = {choices!r}: expected different values.")
    if own not in made:
        raise UserError(f"the experiment's own value {own!r}, where the search begins, is not among {choices!r}.")
    return tuple(made)


def _range(key: str, own: Any, entry: Mapping[str, Any], when: Mapping[str, tuple[Any, ...]]) -> Dimension:
    """Return a range of numbers, which must contain the experiment's own value."""
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise UserError(f"its value is {own!r}, which is not a number: expected a list of choices.")
    numbers = {name: entry[name] for name in ("low", "high", "step") if name in entry}
    for name, value in numbers.items():
        good = isinstance(value, int if isinstance(own, int) else int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value):
            wanted = "a whole number" if isinstance(own, int) else "a number"
            raise UserError(f"{name} = {value!r}: expected {wanted}.")
    log, step = entry.get("log", False), numbers.get("step", 0)
    if not isinstance(log, bool):
        raise UserError(f"log = {log!r}: expected true or false.")
    if not {"low", "high"} <= numbers.keys():
        raise UserError(EXPECTED)
    low, high = numbers["low"], numbers["high"]
    if not low < high:
        raise UserError(f"low = {low}, high = {high}: expected low below high.")
    if log and low <= 0:
        raise UserError(f"low = {low} with log = true: expected a number above 0.")
    if "step" in numbers and (log or step <= 0):
        raise UserError(f"step = {step}: expected a number above 0, and not together with log = true.")
    if step and not _is_whole((high - low) / step):
        raise UserError(f"low = {low}, high = {high}, step = {step}: expected steps that end at high.")
    if not low <= own <= high or (step and not _is_whole((own - low) / step)):
        raise UserError(f"the experiment's own value {own}, where the search begins, is not in this range.")
    return Dimension(key, own, low=low, high=high, log=log, step=step, when=when)


def _conditions(found: Sequence[Dimension]) -> list[str]:
    """Return complaints about conditions that can never be met, or that depend on each other in a circle."""
    known = {each.key: each for each in found}
    complaints = []
    for each in found:
        for key, wanted in each.when.items():
            if key not in known or not known[key].choices:
                complaints.append(f"{each.key}: when.{key}: expected a parameter of this table that has choices.")
            elif never := [value for value in wanted if value not in known[key].choices]:
                complaints.append(f"{each.key}: when.{key}: {never[0]!r} is not among its choices.")
    if not complaints and len(_in_order(found)) < len(found):
        placed = {each.key for each in _in_order(found)}
        circle = ", ".join(each.key for each in found if each.key not in placed)
        complaints.append(f"when: {circle} depend on each other in a circle.")
    return complaints


def _in_order(found: Sequence[Dimension]) -> list[Dimension]:
    """Return the dimensions, each after those it depends on; those in a circle are left out."""
    placed: list[Dimension] = []
    waiting = list(found)
    while ready := [each for each in waiting if each.when.keys() <= {other.key for other in placed}]:
        placed += ready
        waiting = [each for each in waiting if each not in ready]
    return placed


def _refused(experiment: Experiment, dimension: Dimension, found: Sequence[Dimension]) -> str | None:
    """Return the model's complaint about an end or a choice of a parameter whose conditions are met, or None."""
    conditions: Settings = {}
    waiting = [dimension]
    while waiting:
        for key, wanted in waiting.pop().when.items():
            conditions[key] = wanted[0]
            waiting += [each for each in found if each.key == key]
    for value in dimension.ends():
        try:
            changed(experiment, {**conditions, dimension.key: value})
        except UserError as error:
            return f"{dimension.key} = {value!r}: {error}"
    return None


def _name(value: Any) -> Any:
    """Return a choice in the form that a database can store: lists as JSON, other values unchanged."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _is_whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=1e-9)
