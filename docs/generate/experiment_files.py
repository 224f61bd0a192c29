"""The page of experiment files: every key, from the source that `describe` reads."""

from collections.abc import Iterable

from generate.markdown import definitions, text
from pairrank.cli.parameters import UNKNOWN, Parameter, class_parameters, model_parameters, shown
from pairrank.models.base import shipped_models
from pairrank.runs.experiment import TOML_KEYS

TABLES = ("model", "split")
"""Keys of a file that hold a table, which has a section of its own."""
FIELDS = {"teacher": "teachers"}
"""Key of a file -> the field of the experiment that it sets, where the names differ."""


def page() -> str:
    """Return the keys of a file, of its tables, and of all models."""
    fields = {each.key: each for each in class_parameters("pairrank.runs.experiment", "Experiment")}
    keys = [(key, fields[FIELDS.get(key, key)]) for key in TOML_KEYS if key not in TABLES]
    parts = [
        "## Keys of the file",
        definitions(_item(each, key, has_default=False) for key, each in keys),
        "## Table `[split]`",
        _parameters(class_parameters("pairrank.runs.experiment", "Split")),
        "## Entries of `extra`",
        "Each entry of the list `extra` is a table with these keys.",
        _parameters(class_parameters("pairrank.data.extra", "Extra")),
        "## Table `[model]`",
        "`name` is the name of a model below, or [a model of your own](plug-ins.md). The other keys are its "
        "parameters. A dotted key, such as `training.epochs`, is a key of a table: `[model.training]`.",
    ]
    for model in shipped_models():
        about, found = model_parameters(model)
        parts += [f"### `{model}`", *(text(" ".join(each.split())) for each in about.split("\n\n"))]
        parts.append(_parameters(found) if found else "It has no parameters.")
    return "\n\n".join(parts) + "\n"


def _parameters(found: Iterable[Parameter]) -> str:
    return definitions(_item(each, each.key) for each in found)


def _item(parameter: Parameter, key: str, has_default: bool = True) -> tuple[str, list[str]]:
    """Return a key with its default, and what it accepts and means."""
    has_default = has_default and parameter.default is not UNKNOWN
    written = f"`{key} = {shown(parameter.default)}`" if has_default else f"`{key}`"
    accepts = parameter.accepts[0].upper() + parameter.accepts[1:] + "." if has_default else ""
    return written, [text(f"{parameter.about} {accepts}".strip())]
