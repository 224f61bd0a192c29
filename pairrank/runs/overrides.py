"""One parameter changed from the command line: `--set training.epochs=1` into nested plain values."""

import math
import tomllib
from collections.abc import Mapping
from typing import Any

from pairrank.errors import UserError
from pairrank.nested import dotted_items, set_dotted


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
    # Text with a line break may parse as more than one key; it is text then.
    set_dotted(parameters, key, value["value"] if set(value) == {"value"} else text, f"--set {key}={text}")


def refuse_infinite(parameters: Mapping[str, Any]) -> None:
    """TOML has nan and inf; no hyperparameter has, and JSON cannot record them."""
    strange = [
        f"{key} = {number}"
        for key, value in dotted_items(parameters)
        for number in (value if isinstance(value, list) else [value])
        if isinstance(number, float) and not math.isfinite(number)
    ]
    if strange:
        raise UserError(f"{', '.join(strange)}: expected a finite number.")
