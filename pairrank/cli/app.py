"""The program: its help, its commands, its exit codes, and one message for each error of its user."""

import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pairrank import distributed, plugins
from pairrank.cli import auto_commands, data_commands, entry_commands, experiment_commands, result_commands
from pairrank.cli.messages import messages_to, print_message
from pairrank.cli.options import examples
from pairrank.errors import UserError, described, escape_control, excerpt, hide_passwords, shorten

LONGEST_ARGUMENT = 3_000
"""Characters of an argument; click repeats a wrong one in its message."""


class Commands(TyperGroup):
    """All commands; typer alone would end an interrupted one without a message."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. After Ctrl-C, a message says how to resume."""
        try:
            return super().invoke(ctx)
        except EOFError as error:  # click would print "Aborted!" alone
            raise RuntimeError("a file ended before it was complete") from error
        except KeyboardInterrupt:
            if distributed.rank():
                sys.exit(130)
            resumes = ctx.invoked_subcommand in ("auto", "run", "curve", "tune")
            message = " The same command resumes from the finished folds and epochs." if resumes else ""
            print(f"\nInterrupted. No file is incomplete.{message}", file=sys.stderr)
            sys.exit(130)


app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Predict which of two chatbot answers people prefer, and compare architectures for this task by log "
    "loss.\n\nStart with: run baseline",
    epilog=examples("run baseline", "list", "describe structure", "run structure --dry-run", "compare"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        from pairrank.cli.version import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    # `main` has taken --debug out of the arguments, wherever it was; it is declared here for the help text.
    del debug, version


for _group in (auto_commands, experiment_commands, result_commands, entry_commands, data_commands):
    app.add_typer(_group.commands)


def main() -> None:
    """Run a command; an error that the user can correct gives one message and exit code 2, without a traceback."""
    _open_standard_streams()
    # Otherwise tokenizers warns about a fork that the user did not ask for.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("COLUMNS", "LINES"):
        # rich takes a terminal of no columns at its word and prints nothing.
        if not re.fullmatch(r"0*[1-9]\d{0,5}", os.environ.get(name, "1"), re.ASCII):
            del os.environ[name]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        _refuse_arguments(arguments)
        distributed.refuse_incomplete_environment()
        if distributed.rank() and arguments[:1] != ["run"]:
            return  # torchrun started several processes, and only `run` needs more than one
        with messages_to(print_message):
            app(arguments, prog_name=_program_name(arguments))
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
            is_users = isinstance(error, UserError | OSError)
        else:
            is_users = _report(error)
        sys.exit(2 if is_users else 1)


def _open_standard_streams() -> None:
    """Replace closed standard streams by the null device, and let the others escape what they cannot show."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise the next file that is opened takes this number, and a library's output ends up in it.
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        # A console that cannot show a character of a battle shows its code instead of ending the run.
        if mode == "w" and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _refuse_arguments(arguments: Sequence[str]) -> None:
    """Raise UserError for an argument that no file could hold or that is too long to be repeated in a message."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
            raise UserError(f"the argument {excerpt(argument)} contains bytes that are not UTF-8. Expected UTF-8.")
        if len(argument) > LONGEST_ARGUMENT:
            expected = f"{len(argument):,} characters, expected at most {LONGEST_ARGUMENT:,}"
            raise UserError(f"the argument {excerpt(argument)} has {expected}.")


def _report(error: Exception) -> bool:
    """Print one message about an error; return whether the user can correct it."""
    if isinstance(error, UserError | OSError):
        # Usually all processes have the same error, but another machine may have a different one.
        number = os.environ.get("RANK", "").strip()
        where = f"process {number}: " if number.isdecimal() and len(number) < 10 and int(number) else ""
        print(f"Error: {where}{_message(error)}", file=sys.stderr)
        return True
    if isinstance(error, MemoryError | RecursionError):
        what = "not enough memory" if isinstance(error, MemoryError) else "a path or a value is nested too deeply"
        print(f"Error: {what}. Use less data, or shorter settings.", file=sys.stderr)
        return True
    if place := plugins.place_of(error):
        message = (
            f"{place}: this code, which is not part of pairrank, fails ({described(error)}). --debug shows more."
        )
        print(f"Error: {escape_control(message)}", file=sys.stderr)
        return True
    lines = str(error).strip().splitlines()
    reason = type(error).__name__ + (f": {lines[0]}" if lines else "")
    print(
        f"Error: this is a bug in pairrank ({escape_control(shorten(reason, 500))}).\n"
        f"Please report it with the file {_write_log()}, which has all details. No file is incomplete.",
        file=sys.stderr,
    )
    return False


def _write_log() -> str:
    """Write the traceback of the current exception to a new file that only its user can read; return its path."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="pairrank-error-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(hide_passwords(f"{sys.version}\n{sys.argv}\n{traceback.format_exc()}"))
    except OSError as error:
        return f"that --debug shows, because it could not be written ({error.strerror})"
    return name


def _program_name(arguments: list[str]) -> str | None:
    """Return the name that usage texts show; None lets it be detected: `pairrank`, or `python -m …`."""
    # A shell completes programs, not modules of python.
    options = ("--install-completion", "--show-completion")
    is_completion = "_PAIRRANK_COMPLETE" in os.environ or any(each.startswith(options) for each in arguments)
    return "pairrank" if is_completion else None


def _message(error: Exception) -> str:
    """Return one readable message, in which no text of a battle can act on the terminal."""
    if isinstance(error, OSError) and error.strerror:
        return escape_control(shorten(f"{error.filename or 'input or output'}: {error.strerror}."))
    return escape_control(shorten(str(error)))
