"""Nested plain values, as TOML and JSON hold them, and dataclasses made from them."""

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pairrank.errors import UserError, unknown_name


def dotted_items(parameters: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested parameters with its dotted key."""
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield from dotted_items(value, f"{before}{key}.")
        else:
            yield before + key, value


def set_dotted(parameters: dict[str, Any], key: str, value: Any, place: str = "") -> None:
    """Put a value under `key` or `table.key`; tables on the way are copied, and those that are missing are made."""
    *tables, last = key.split(".")
    for i, table in enumerate(tables):
        inner = parameters.get(table, {})
        if not isinstance(inner, Mapping):
            raise UserError(f"{place}: {'.'.join(tables[: i + 1])} is no table, but {inner!r}.")
        parameters[table] = dict(inner)
        parameters = parameters[table]
    parameters[last] = value


def json_ready(value: Any) -> Any:
    """A model's report as JSON can hold it: numpy's numbers as Python's, NaN (a diverged loss) as null."""
    if isinstance(value, dict):
        return {key: json_ready(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_mapping(cls: type, values: Mapping[str, Any], place: str) -> Any:
    """A dataclass from plain values (as TOML gives them), nested ones included, every one checked."""
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    complaints, ready = [], {}
    for key, value in values.items():
        if isinstance(value, str) and hints.get(key) == list[str]:
            value = [value]  # one name is a list of one
        if key not in known:
            complaints.append(unknown_name("parameter", key, known))
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            # What a table does not say is as the model has it, not as the table's class has it.
            whole = _default_of(known[key]) | dict(value)
            ready[key] = from_mapping(typing.cast(type, hints[key]), whole, f"{place}, {key}")
        elif dataclasses.is_dataclass(hints[key]) and not isinstance(value, typing.cast(type, hints[key])):
            complaints.append(f"{key} = {value!r}: expected a table.")
        elif (wrong := _mismatch(value, hints[key])) is not None:
            complaints.append(f"{key} = {value!r}: expected {wrong}.")
        else:
            ready[key] = _as_declared(value, hints[key])
    if complaints:
        raise UserError(f"{place}: " + " ".join(complaints))
    try:
        return cls(**ready)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _default_of(nested: dataclasses.Field[Any]) -> dict[str, Any]:
    """A nested dataclass that its model fills with other defaults than its own, as plain values."""
    factory = nested.default_factory
    return {} if factory is dataclasses.MISSING else dataclasses.asdict(factory())


def _as_declared(value: Any, hint: Any) -> Any:
    """A checked value in the type of its field: TOML and JSON know no tuples, and write 1 for 1.0."""
    if hint is float:
        return float(value)
    return tuple(value) if typing.get_origin(hint) is tuple else value


def _mismatch(value: Any, hint: Any) -> str | None:
    """What `hint` would accept, if it does not accept `value`; None if it does."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return None if value in options else "one of " + ", ".join(map(repr, options))
    if origin in (list, tuple):
        good = isinstance(value, list | tuple) and all(_mismatch(item, options[0]) is None for item in value)
        return None if good else f"a list of {options[0].__name__}"
    if isinstance(hint, type):
        numeric = hint is float and isinstance(value, int) and not isinstance(value, bool)
        exact = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
        return None if numeric or exact else f"a value of type {hint.__name__}"
    # A union: any member will do.
    wrong = [_mismatch(value, option) for option in options]
    return None if not options or None in wrong else " or ".join(filter(None, wrong))
