"""`describe` explains an experiment or a model, and each of its parameters."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairrank.cli.console import say, text_width
from pairrank.cli.parameters import Parameter, class_parameters, model_parameters, shown
from pairrank.errors import UserError, unknown_name
from pairrank.models.base import model_class, model_names, own_model, with_current_names
from pairrank.nested import dotted_items
from pairrank.plugins import is_reference
from pairrank.runs.experiment import RUN_FILE
from pairrank.runs.experiment_files import experiment_files, read_table
from pairrank.tuning.space import search_entries


def describe(name: str) -> None:
    """Explain the experiment `name` or, if there is none, the model of this name, and its parameters."""
    files = experiment_files()
    path = Path(name) if name.endswith(".toml") else files.get(name)
    if path is not None:
        _describe_experiment(path)
    elif name in model_names() or is_reference(name):
        _describe_model(own_model(name, Path()) if is_reference(name) else name, files)
    else:
        raise UserError(unknown_name("experiment or model", name, {*files, *model_names()}))


def _describe_experiment(path: Path) -> None:
    table = read_table(path)
    model = table["model"]["name"]
    if is_reference(model):
        # A file of a run starts no code.
        model = model_class(model).model_name if path.name == RUN_FILE else own_model(model, path.parent)
    elif model not in model_names():
        raise UserError(f"{path}: {unknown_name('model', model, model_names())}")
    about, parameters = model_parameters(model)
    _print(f"{path.stem}: {table.get('about', 'no description')}")
    say(f"File: {path}")
    for key in ("inputs", "teacher", "teacher_weight", "soft_targets", "extra", "tuned_on"):
        if table.get(key):
            _print(f"{key}: {shown(table[key])}", hanging="    ")
    if table.get("submittable") is False:
        _print("submittable: false. It uses columns that test battles lack, so it is a diagnostic.")
    if seconds := table.get("seconds"):
        say(f"Time: about {seconds:g} s per 1,000 battles on two cores, all folds.")
    values = {key: value for key, value in table["model"].items() if key != "name"}
    own, search = dict(dotted_items(values)), dict(search_entries(table.get("search", {})))
    if not {*own, *search} <= {each.key for each in parameters}:
        # Only the model knows its former names, so it is imported if the file uses any.
        own = dict(dotted_items(with_current_names(model, values, f"{path}, [model]")))
        search = dict(search_entries(with_current_names(model, table.get("search", {}), f"{path}, [search]")))
    say("")
    _print(f"Model {model}: {_first_paragraph(about)}")
    if parameters:
        _print("Change a parameter for one run with --set KEY=VALUE, for example " + _example(parameters))
    for parameter in parameters:
        _show(parameter, own, search)
    say("")
    _print("Folds. Change them in the table [split] of the file, or with --salt, --limit, --nested, --train-size.")
    given = dict(dotted_items(table.get("split", {}), "split."))
    for parameter in class_parameters("pairrank.runs.experiment", "Split", "split."):
        _show(parameter, given, {})


def _describe_model(name: str, files: Mapping[str, Path]) -> None:
    about, parameters = model_parameters(name)
    _print(f"Model {name}: {about}")
    using = [experiment for experiment, file in files.items() if _model_of(file) == name]
    if using:
        _print(f"Experiments with it: {', '.join(using)}. `describe` shows their own values and search ranges.")
    for parameter in parameters:
        _show(parameter, {}, {})


def _model_of(file: Path) -> str:
    try:
        return str(read_table(file)["model"]["name"])
    except UserError:  # one unreadable file must not hide the others
        return ""


def _show(parameter: Parameter, own: Mapping[str, Any], search: Mapping[str, Any]) -> None:
    """Print a parameter with its value, the values that it accepts, its meaning, and what `tune` searches."""
    key, default = parameter.key, shown(parameter.default)
    value = shown(own[key]) if key in own else default
    say("")
    _print(f"{key} = {value}", hanging="    ")
    facts = f"default {default}; {parameter.accepts}" if key in own and value != default else parameter.accepts
    _print(f"({facts})", indent="    ")
    if parameter.about:
        _print(parameter.about, indent="    ")
    if key in search:
        _print(f"`tune` searches {_searched(search[key])}.", indent="    ")


def _searched(entry: Any) -> str:
    """Return a description of an entry of [search]."""
    if isinstance(entry, list):
        return f"among {', '.join(map(shown, entry))}"
    if not isinstance(entry, Mapping):
        return shown(entry)
    if "choices" in entry:
        text = f"among {', '.join(map(shown, entry['choices']))}"
    else:
        text = f"from {shown(entry.get('low', '?'))} to {shown(entry.get('high', '?'))}"
        text += " on a logarithmic scale" if entry.get("log") else ""
        text += f" in steps of {shown(entry['step'])}" if "step" in entry else ""
    conditions = " and ".join(_condition(key, value) for key, value in entry.get("when", {}).items())
    return f"{text}, where {conditions}" if conditions else text


def _condition(key: str, value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return f"{key} is {' or '.join(map(shown, values))}"


def _example(parameters: list[Parameter]) -> str:
    chosen = next((each for each in parameters if isinstance(each.default, int | float)), parameters[0])
    return f"--set {chosen.key}={shown(chosen.default)}"


def _first_paragraph(text: str) -> str:
    return text.split("\n\n")[0]


def _print(text: str, indent: str = "", hanging: str = "") -> None:
    """Print paragraphs wrapped to the terminal's width."""
    for line in _wrapped(text, indent, hanging):
        say(line)


def _wrapped(text: str, indent: str, hanging: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(
            " ".join(paragraph.split()),
            text_width(),
            initial_indent=indent,
            subsequent_indent=indent + hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
