"""The command lines in the documents, and a check against the real command line that executes nothing."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from pairrank.cli.app import app

ROOT = Path(__file__).parents[2]
SHELLS = ("sh", "bash", "powershell", "console", "python", "")
"""Languages of blocks with commands; a notebook has them as !command."""
FENCE = re.compile(r"^ *```(\w*).*?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
MODULES = ("pairrank", "pairrank.experiments")


def documents() -> list[Path]:
    """Return the README files and all pages of the site."""
    others = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Dataset/README.md", "benchmarks/README.md")]
    return [file for file in [*others, *sorted((ROOT / "docs").rglob("*.md"))] if file.is_file()]


def commands(markdown: str) -> Iterator[list[str]]:
    """Yield the arguments of each command line of pairrank in a document.

    In running text, the name of a command alone is a mention of it, and has the argument -h here.
    """
    blocks = [text for language, text in FENCE.findall(markdown) if language in SHELLS]
    for line in (line for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()):
        yield from filter(None, map(_arguments, _simple_commands(line)))
    for code in CODE.findall(FENCE.sub("", markdown)):
        for found in filter(None, map(_arguments, _simple_commands(code))):
            yield found if len(found) > 1 else [*found, "-h"]


def _simple_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of the commands in a line of a shell, without redirections and comments."""
    reader = shlex.shlex(line.strip().removeprefix("!"), posix=True, punctuation_chars="&|;<>")
    reader.whitespace_split = True
    words: list[str] = []
    try:
        for word in reader:
            if set(word) <= set("&|;<>"):
                yield words
                words = []
            else:
                words.append(word)
    except ValueError:  # a line of Python with an apostrophe is no command
        return
    yield words


def _arguments(words: list[str]) -> list[str]:
    """Return the arguments of pairrank in a command; [] for another program."""
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    program = re.split(r"[/\\]", words[0])[-1] if words else ""
    if program == "pairrank":
        return words[1:]
    if program.startswith(("python", "py", "torchrun")) and "-m" in words:
        at = words.index("-m") + 1
        return words[at + 1 :] if words[at:] and words[at] in MODULES else []
    return []


def complaint(words: list[str]) -> str:
    """Return what the command line would refuse about a command and its options; "" if nothing.

    Options are parsed and their values converted as when the command is run, but no callback and no command runs.
    """
    group: Any = typer.main.get_command(app)
    if words[0] in ("-h", "--help", "--version", "--install-completion", "--show-completion"):
        return ""
    command = group.commands.get(words[0])
    if command is None:
        return f"there is no command {words[0]}"
    if "-h" in words or "--help" in words:
        return ""
    context = command.context_class(command, info_name=words[0])
    arguments = [word for word in words[1:] if word != "--debug"]
    try:
        values, rest, _ = command.make_parser(context).parse_args(args=arguments)
        for parameter in command.get_params(context):
            if not parameter.is_eager:
                parameter.callback = None  # such as --plugin, which would run a file
                parameter.process_value(context, values.get(parameter.name))
    except Exception as error:
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return f"too many arguments: {rest}" if rest else ""
