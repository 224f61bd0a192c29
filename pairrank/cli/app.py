"""The program: its help, its commands, its exit codes, and one message for each error of its user."""

import io
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pairrank import distributed
from pairrank.cli import data_commands, experiment_commands, result_commands
from pairrank.cli.messages import messages_to, print_message
from pairrank.cli.options import examples


class Commands(TyperGroup):
    """All commands; typer alone would end an interrupted one without a message."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. After Ctrl-C, a message says how to resume."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if distributed.rank():
                sys.exit(130)
            resumes = ctx.invoked_subcommand in ("run", "tune")
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


for _group in (experiment_commands, result_commands, data_commands):
    app.add_typer(_group.commands)


def main() -> None:
    """Run a command; an error that the user can correct gives one message and exit code 2, without a traceback."""
    # Otherwise tokenizers warns about a fork that the user did not ask for.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show a character of a battle shows its code instead of ending the run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if distributed.rank() and arguments[:1] != ["run"]:
        return  # torchrun started several processes, and only `run` needs more than one
    try:
        with messages_to(print_message):
            app(arguments, prog_name=_program_name(arguments))
    except (ValueError, OSError) as error:
        from pairrank.errors import UserError

        if isinstance(error, ValueError) and not isinstance(error, UserError):
            raise
        if "--debug" in sys.argv:
            traceback.print_exc()
        else:
            # Usually all processes have the same error, but another machine may have a different one.
            where = f"process {distributed.rank()}: " if distributed.rank() else ""
            print(f"Error: {where}{_message(error)}", file=sys.stderr)
        sys.exit(2)


def _program_name(arguments: list[str]) -> str | None:
    """Return the name that usage texts show; None lets it be detected: `pairrank`, or `python -m …`."""
    # A shell completes programs, not modules of python.
    options = ("--install-completion", "--show-completion")
    is_completion = "_PAIRRANK_COMPLETE" in os.environ or any(each.startswith(options) for each in arguments)
    return "pairrank" if is_completion else None


def _message(error: Exception) -> str:
    """Return one readable message, in which no text of a battle can act on the terminal."""
    from pairrank.cli.console import escape_control

    if isinstance(error, OSError) and error.strerror:
        return escape_control(f"{error.filename or 'input or output'}: {error.strerror}.")
    return escape_control(str(error))
