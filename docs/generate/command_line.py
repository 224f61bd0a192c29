"""The page of the command line, from the objects that also make its help."""

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from generate.markdown import definitions, text
from pairrank.cli.app import app


def page() -> str:
    """Return all commands with their arguments, options and examples."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="pairrank")
    names = sorted(group.commands)
    parts = [
        "Commands: " + ", ".join(f"[`{name}`](#{name})" for name in names) + ".",
        "## Options of every command",
        definitions(_records(group.params, context)),
        *(part for name in names for part in _command(name, group.commands[name], context)),
    ]
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any, parent: Any) -> Iterator[str]:
    """Yield the parts of a command: its heading, usage, description, arguments, options and examples."""
    context = command.context_class(command, info_name=name, parent=parent)
    yield f"({name})=\n## `{name}`"
    yield f"```text\npairrank {name} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield from (text(" ".join(each.split())) for each in command.help.split("\n\n"))
    shown = [each for each in command.params if each.name != "help"]
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        if records := list(_records([each for each in shown if each.param_type_name == kind], context)):
            yield f"**{title}**"
            yield definitions(records)
    if command.epilog:
        lines = [line.strip() for line in command.epilog.splitlines()[2:]]
        yield "**Examples**"
        yield "```sh\n" + "\n".join(_whole(line) for line in lines) + "\n```"


def _records(parameters: Any, context: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each argument or option as it is typed, and its help with default and bounds as the last sentence."""
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if record is not None:
            typed, about = record
            about, _, facts = about.partition("  [")
            facts = re.sub(r"\]\s*\[|\]$", "", facts)
            facts = f"({facts[0]}{facts[1:]})" if facts else ""
            yield f"`{typed}`", [f"{text(about)} {text(facts)}".strip() or text(facts)]


def _whole(line: str) -> str:
    return line if line.startswith("torchrun") else f"pairrank {line}"
