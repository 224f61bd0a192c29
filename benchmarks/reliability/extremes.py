"""Peak memory and seconds of commands on files that a single text makes extreme.

`python -m benchmarks.reliability.extremes` prints a table; `--program DIR` measures another checkout of pairrank.
"""

import argparse
import csv
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pairrank.data.simulation import write_arena

Rows = list[list[str]]


def one_large_cell(folder: Path) -> None:
    """Write 60 battles, one of which has an answer of 50 MB."""
    _write(folder, 60, lambda rows: _set(rows, 7, "response_a", ["word and word, " * (50_000_000 // 15)]))


def one_long_turn(folder: Path) -> None:
    """Write 20,000 battles, one of which has a first turn of 1 MB."""
    _write(folder, 20_000, lambda rows: _set(rows, 7, "prompt", ["x y " * 250_000]))


def combining_marks(folder: Path) -> None:
    """Write 60 battles, one of which has a prompt of a letter and 80,000 alternating combining marks."""
    _write(folder, 60, lambda rows: _set(rows, 7, "prompt", ["a" + "\u0301\u0316" * 40_000]))


def blank_lines(folder: Path) -> None:
    """Write a training file of 150 MB that contains a header and blank lines."""
    _write(folder, 60, lambda rows: None)
    with (folder / "train.csv").open("a", encoding="utf-8") as file:
        for _ in range(150):
            file.write("\n" * 1_000_000)


CASES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "one 50 MB cell, explore": (one_large_cell, ["explore", "--out", "page.html"]),
    "one 50 MB cell, run prior": (one_large_cell, ["run", "prior", "--runs", "runs"]),
    "one 50 MB cell, run structure": (one_large_cell, ["run", "structure", "--runs", "runs"]),
    "20,000 battles, one turn of 1 MB, run prior": (one_long_turn, ["run", "prior", "--runs", "runs"]),
    "80,001 combining marks, run prior": (combining_marks, ["run", "prior", "--runs", "runs"]),
    "150 MB of blank lines, run prior": (blank_lines, ["run", "prior", "--runs", "runs"]),
}
"""What is measured: a function that writes the data, and the command."""


def measure(case: str, program: Path | None = None) -> tuple[float, float, int]:
    """Return seconds, peak memory in MB and exit code of a case, in a new process."""
    write, command = CASES[case]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        # In another process: a new one begins with the peak memory of the process that starts it.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(data,))
        writer.start()
        writer.join()
        environment = os.environ | {"PAIRRANK_CACHE": str(Path(scratch) / "cache")}
        if program:
            environment["PYTHONPATH"] = str(program)
        begun = time.monotonic()
        process = subprocess.Popen(  # noqa: S603  # this program
            [sys.executable, "-m", "pairrank.experiments", *command, "--data", str(data)],
            cwd=scratch,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        return time.monotonic() - begun, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


def _set(rows: Rows, row: int, column: str, turns: list[str]) -> None:
    rows[row][rows[0].index(column)] = json.dumps(turns)


def _write(folder: Path, train: int, change: Callable[[Rows], None]) -> None:
    """Write simulated battles, and the training file again after a change of its rows."""
    csv.field_size_limit(2**31 - 1)
    write_arena(folder, train, 12)
    with (folder / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, help="checkout of pairrank to measure; default: this one")
    parser.add_argument("--memory", type=float, default=16, help="limit in GB of each process")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (int(given.memory * 2**30),) * 2)
    print("| case | seconds | peak MB | exit code |\n|---|---|---|---|", flush=True)
    for case in CASES:
        seconds, peak, code = measure(case, given.program)
        print(f"| {case} | {seconds:.1f} | {peak:,.0f} | {code} |", flush=True)


if __name__ == "__main__":
    main()
