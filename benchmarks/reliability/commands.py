"""Commands run in processes that are forked from one warmed-up process, so that each starts in milliseconds."""

import gc
import importlib
import io
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

GRACE = 15.0
"""Seconds in which a command must end after Ctrl-C; then it is killed and counts as hung."""
MEMORY = 16 * 2**30
"""Bytes of address space that a command may use; a bomb then ends in an error instead of a frozen machine."""


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: int
    """Its exit code; minus the number of the signal that ended it."""
    out: str
    err: str
    seconds: float
    peak_mb: float
    """Its largest resident memory, in MB. A fork begins with the memory of the warmed-up process."""
    interrupted: bool
    """Whether it took too long and got Ctrl-C."""
    hung: bool
    """Whether it had to be killed after that."""


def warm_up() -> None:
    """Import everything that commands need, and run some, because much is imported or computed on first use."""
    import matplotlib

    matplotlib.use("Agg")
    for name in ("compare", "doctor", "listing", "pages", "predict", "ratings", "run", "simulate", "tune"):
        importlib.import_module(f"pairrank.cli.{name}")
    from pairrank.models.base import model_class, model_names

    for name in model_names():
        model_class(name)
    for name in ("pyarrow.parquet", "matplotlib.pyplot", "optuna", "transformers.models.bert.modeling_bert"):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w", encoding="utf-8") as nothing:
        data = ["--data", f"{folder}/data"]
        runs = [*data, "--runs", f"{folder}/runs"]
        with redirect_stdout(nothing), redirect_stderr(nothing):
            for arguments in (
                ["simulate", f"{folder}/data", "--train", "20", "--test", "5"],
                ["run", "prior", *runs],
                ["predict", "prior", f"{folder}/data/test.csv", *runs, "--out", f"{folder}/out.csv"],
                ["compare", *runs],
            ):
                with suppress(SystemExit):
                    _main(arguments)
    # Otherwise the first collection in a fork would touch, and thereby copy, the memory of all modules.
    gc.collect()
    gc.freeze()


def run_command(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str | None] | None = None,
    closed: Sequence[int] = (),
    seconds: float = 60,
    is_fresh: bool = False,
) -> Ended:
    """Run `pairrank ARGUMENTS` in a folder and return how it ended.

    `environment` changes variables, or removes those that are None. `closed` has the numbers of streams that are
    closed. A fresh command is started by a new interpreter, for which the environment is the real one.
    """

    def command() -> None:
        if is_fresh:
            given = [each.encode("utf-8", "surrogateescape") for each in ("-m", "pairrank.experiments", *arguments)]
            os.execv(sys.executable, [sys.executable.encode(), *given])  # noqa: S606
        _main(arguments)

    return call(command, folder, environment, closed, seconds)


def _main(arguments: Sequence[str]) -> None:
    """Run the command line in this process."""
    from pairrank.cli import app, console

    importlib.reload(console)  # its width comes from the environment
    sys.argv = ["pairrank", *arguments]
    app.main()


def call(
    function: Callable[[], None],
    folder: Path,
    environment: Mapping[str, str | None] | None = None,
    closed: Sequence[int] = (),
    seconds: float = 60,
) -> Ended:
    """Call a function in a fork of this process, with the given current folder, and return how it ended."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            _be_child(function, folder, environment or {}, closed, (out.fileno(), err.fileno()))
        interrupted = hung = False
        while True:
            done, status, usage = os.wait4(child, os.WNOHANG)
            if done:
                break
            elapsed = time.monotonic() - begun
            if elapsed > seconds and not interrupted:
                interrupted = True
                os.kill(child, signal.SIGINT)
            if elapsed > seconds + GRACE and not hung:
                hung = True
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.002 if elapsed < 2 else 0.05)
        texts = [_text(file) for file in (out, err)]
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, *texts, time.monotonic() - begun, usage.ru_maxrss / 1024, interrupted, hung)


def _text(file: io.BufferedRandom) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _be_child(
    function: Callable[[], None],
    folder: Path,
    environment: Mapping[str, str | None],
    closed: Sequence[int],
    outputs: tuple[int, int],
) -> None:
    """Call the function and end the process."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _replace_streams(outputs, closed)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = _exit_code(function)
    finally:
        os._exit(code)


def _replace_streams(outputs: tuple[int, int], closed: Sequence[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((nothing, *outputs)):
        os.dup2(source, number)
    for number in closed:
        os.close(number)
    # As at the start of Python: a closed stream is None.
    sys.stdin = None if 0 in closed else open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = None if 1 in closed else _writer(1, "strict")
    sys.stderr = None if 2 in closed else _writer(2, "backslashreplace")


def _writer(number: int, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.FileIO(number, "w", closefd=False), encoding="utf-8", errors=errors, write_through=True
    )


def _exit_code(function: Callable[[], None]) -> int:
    """Call the function; return the exit code that Python would end with."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        function()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
