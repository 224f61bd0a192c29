"""Changes of single parameters from the command line, such as `--set training.epochs=1`."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pairrank.errors import UserError, excerpt
from pairrank.nested import dotted_items, set_dotted

LARGEST = 1e150
"""Bound of all numbers among the hyperparameters; the square of a larger one is infinite."""


def parse_change(change: str) -> tuple[str, str]:
    """Return key and value of `key=value`; raises UserError for any other text, and for the model's name."""
    key, equals, text = (part.strip() for part in change.partition("="))
    key = key.removeprefix("model.")  # both forms are accepted
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {change}: expected key=value, such as --set training.epochs=1.")
    if key.split(".")[0] == "name":
        raise UserError(f"--set {change}: the name of the model cannot be changed. Write another experiment file.")
    return key, text


def split_label(label: str) -> tuple[str, list[str]]:
    """Return the experiment and the changes that the name of a run gives: "structure+seed=1" → seed=1."""
    name, *changes = re.split(r"\+(?=[A-Za-z_][A-Za-z0-9_.]*=)", label)
    return name, changes


def override(parameters: dict[str, Any], key: str, text: str) -> None:
    """Set `key` or `table.key` in nested parameters to a value that is read as TOML or, failing that, as text."""
    try:
        value = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # text, an integer of thousands of digits, or thousands of brackets
        value = {"value": text}
    # Text with a line break may parse as more than one key. It is then kept as text.
    set_dotted(parameters, key, value["value"] if set(value) == {"value"} else text, f"--set {key}={text}")


def _numbers(value: Any) -> Iterator[float]:
    """Yield all numbers in a value and in the lists that it contains."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float):
        yield value


def refuse_infinite(parameters: Mapping[str, Any]) -> None:
    """Raise UserError for nan and inf, which JSON does not allow, and for numbers whose square is no float."""
    strange = [
        f"{key} = {excerpt(number)}"
        for key, value in dotted_items(parameters)
        for number in _numbers(value)
        if not abs(number) < LARGEST
    ]
    if strange:
        raise UserError(f"{', '.join(strange)}: expected a finite number.")
