"""One parameter changed from the command line: `--set training.epochs=1` into nested plain values."""

import math
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pairrank.errors import UserError


def parse_change(change: str) -> tuple[str, str]:
    """Key and value of `key=value`; raises UserError if it is no such thing."""
    key, equals, text = (part.strip() for part in change.partition("="))
    key = key.removeprefix("model.")  # as the file has it
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {change}: expected key=value, such as --set training.epochs=1.")
    if key.split(".")[0] == "name":
        raise UserError(f"--set {change}: the model's name makes the experiment. Write another experiment file.")
    return key, text


def override(parameters: dict[str, Any], key: str, text: str) -> None:
    """Put `key=value` or `table.key=value` into nested parameters; the value is TOML, or else text."""
    try:
        value = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        value = {"value": text}
    *tables, last = key.split(".")
    for i, table in enumerate(tables):
        inner = parameters.get(table, {})
        if not isinstance(inner, Mapping):
            raise UserError(f"--set {key}={text}: {'.'.join(tables[: i + 1])} is no table, but {inner!r}.")
        parameters[table] = dict(inner)
        parameters = parameters[table]
    # Text with a line break may parse as more than one key; it is text then.
    parameters[last] = value["value"] if set(value) == {"value"} else text


def refuse_infinite(parameters: Mapping[str, Any]) -> None:
    """TOML has nan and inf; no hyperparameter has, and JSON cannot record them."""
    if strange := [f"{key} = {value}" for key, value in _leaves(parameters) if not math.isfinite(value)]:
        raise UserError(f"{', '.join(strange)}: expected a finite number.")


def _leaves(parameters: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested parameters with its dotted key."""
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            numbers = value if isinstance(value, list) else [value]
            yield from ((before + key, number) for number in numbers if isinstance(number, float))
