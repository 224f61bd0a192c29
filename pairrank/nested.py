"""Nested plain values, as TOML and JSON hold them, and the dataclasses that are built from them."""

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pairrank.errors import UserError, excerpt, unknown_name

WORDS: Mapping[Any, tuple[str, str]] = {
    bool: ("true or false", "true and false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
}
"""Types in messages: one value and several."""


def dotted_items(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that is not a table, with its dotted key: `{"a": {"b": 1}}` yields `("a.b", 1)`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted_items(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def set_dotted(values: dict[str, Any], key: str, value: Any, place: str = "") -> None:
    """Set the value of a dotted key. Tables on the path are copied, and missing ones are created.

    Raises UserError, beginning with `place`, if a part of the path holds a value that is not a table.
    """
    *tables, last = key.split(".")
    for i, table in enumerate(tables):
        inner = values.get(table, {})
        if not isinstance(inner, Mapping):
            raise UserError(f"{place}: {'.'.join(tables[: i + 1])} = {excerpt(inner)}: expected a table.")
        values[table] = dict(inner)
        values = values[table]
    values[last] = value


def json_ready(value: Any) -> Any:
    """Return nested values in a form that JSON can hold.

    numpy scalars become Python numbers, tuples become lists, and NaN and infinity (a diverged loss) become None.
    """
    if isinstance(value, dict):
        return {key: json_ready(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(inner) for inner in value]
    if type(value).__module__ == "numpy":  # compared by name, so that `--help` does not load numpy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_mapping(cls: type, values: Mapping[str, Any], place: str, ignore_unknown: bool = False) -> Any:
    """Return an instance of the dataclass `cls` with the given field values, all of which are checked.

    A nested dataclass is given as a table and a tuple as a list. A list of one string may be given as the string
    itself, and a float as an int. Fields that are not given keep their defaults. Raises UserError, beginning with
    `place`, for unknown names (unless `ignore_unknown`), for missing values, for values of the wrong type and for
    values that the dataclass itself rejects.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = _type_hints(cls)
    complaints, converted = [], {}
    for key, value in values.items():
        if key not in fields:
            complaints += [] if ignore_unknown else [unknown_name("parameter", key, fields)]
            continue
        hint = hints[key]
        if (nested := _dataclass_in(hint)) and isinstance(value, Mapping):
            # Missing keys keep the defaults of this field, which may differ from those of the nested class.
            table = _default_table(fields[key]) | dict(value)
            converted[key] = from_mapping(nested, table, f"{place}, {key}", ignore_unknown)
        else:
            value = [value] if hint == list[str] and isinstance(value, str) else value
            if expected := _expected(value, hint):
                complaints.append(f"{key} = {excerpt(value)}: expected {expected}.")
            else:
                converted[key] = _convert(value, hint)
    complaints += [
        f"{name} is missing." for name, field in fields.items() if name not in values and _is_required(field)
    ]
    if complaints:
        raise UserError(f"{place}: " + " ".join(complaints))
    try:
        return cls(**converted)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


@functools.cache
def _type_hints(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _dataclass_in(hint: Any) -> type | None:
    """Return the dataclass that a type hint names, alone or in a union; None if it names none."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = typing.get_args(hint) if is_union else (hint,)
    return next(
        (option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)), None
    )


def _is_required(field: dataclasses.Field[Any]) -> bool:
    """Return whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default_table(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """Return the default of a field that holds a dataclass, as a table; {} if it has no default factory."""
    factory = field.default_factory
    return {} if factory is dataclasses.MISSING else dataclasses.asdict(factory())


def _convert(value: Any, hint: Any) -> Any:
    """Return a checked value in its field's type, because TOML and JSON have no tuples and may write 1 for 1.0."""
    if hint is float:
        return float(value)
    return tuple(value) if typing.get_origin(hint) is tuple else value


def _expected(value: Any, hint: Any) -> str | None:
    """Return a description of the values that `hint` accepts, or None if it accepts `value`."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return None
    if origin is typing.Literal:
        return None if value in options else "one of " + ", ".join(map(repr, options))
    if origin in (list, tuple):
        accepted = isinstance(value, list | tuple) and all(_expected(item, options[0]) is None for item in value)
        return None if accepted else f"a list of {_plural(options[0])}"
    if origin is dict:
        key_hint, item_hint = options
        accepted = isinstance(value, Mapping) and all(
            _expected(key, key_hint) is None and _expected(item, item_hint) is None for key, item in value.items()
        )
        return None if accepted else f"a table of {_plural(item_hint)}"
    if isinstance(hint, type):
        return _expected_of_class(value, hint)
    rejections = [_expected(value, option) for option in options]  # a union accepts what any member accepts
    return None if None in rejections else " or ".join(filter(None, rejections))


def _expected_of_class(value: Any, hint: type) -> str | None:
    """Return what `_expected` returns for a plain class. A float field accepts an int; a bool is not a number."""
    if hint is type(None):
        return None if value is None else "nothing"
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        # An integer of JSON may be larger than any float.
        return None if abs(value) <= sys.float_info.max else "a finite number"
    if hint is int and isinstance(value, int) and abs(value) >= 2**63:
        return "a whole number below 2**63"  # more fits into no array, and beyond 10**308 into no division
    if isinstance(value, hint) and (hint in (bool, object) or not isinstance(value, bool)):
        return None
    if dataclasses.is_dataclass(hint):
        return "a table"
    return WORDS[hint][0] if hint in WORDS else f"a value of type {hint.__name__}"


def _plural(hint: Any) -> str:
    """Return the description of several values of a type."""
    return WORDS[hint][1] if hint in WORDS else f"values of type {getattr(hint, '__name__', hint)}"
