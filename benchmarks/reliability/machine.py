"""A disk that is full, commands side by side in one folder, and a long stream of battles.

A command that finds no room names the file; with room again, it ends like one that always had it. Equal commands at
once end like one of them. The memory of `predict` does not grow with its file.
"""

import io
import resource
import shutil
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

from benchmarks.reliability import kills
from benchmarks.reliability.commands import Ended, call, run_command
from benchmarks.reliability.judged import faults_of

COUNT = 40
"""Number of cases in a whole campaign: the last one is the stream, and one in five before it runs side by side."""

STREAMED = (6_000, 60_000)
"""Battles of a short and a long stream."""

MEGABYTES = 50
"""Memory that the long one may take beyond the short one."""

WRITING = ("run", "run with inputs", "submit", "predict", "compare --publish", "simulate")
SIDE_BY_SIDE = ("run", "run with inputs")


def prepare(folder: Path, seed: int, indices: range) -> None:
    """Prepare the commands of these cases; that of the stream starts from nothing."""
    kinds = [_plan(seed, index) for index in indices]
    kills.prepare_commands(folder, {name for kind, name, _ in kinds if kind != "stream"})


def describe(seed: int, index: int) -> str:
    """Return what a case does."""
    kind, name, room = _plan(seed, index)
    return f"{kind}: {name}" + (f", files of at most {room} bytes" if kind == "full disk" else "")


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return what is wrong with a case."""
    kind, name, room = _plan(seed, index)
    if kind == "stream":
        return _check_stream(folder)
    number, command = list(kills.COMMANDS).index(name), kills.COMMANDS[name][1]
    work = folder / "work"
    shutil.copytree(shared / f"begin-{number}", work)
    if kind == "side by side":
        faults = _check_side_by_side(command, work)
    else:
        faults = _check_full_disk(command, work, room)
        faults += faults_of(run_command(command, work, seconds=kills.SECONDS), codes=(0,))
    return faults or kills._differences(shared / f"end-{number}", work, name)


def _plan(seed: int, index: int) -> tuple[str, str, int]:
    rng = Random(f"{seed}/{index}")  # noqa: S311  # no secret
    if index == COUNT - 1:
        return "stream", "predict", 0
    if index % 5 == 4:
        return "side by side", rng.choice(SIDE_BY_SIDE), 0
    return "full disk", WRITING[index % len(WRITING)], int(10 ** rng.uniform(1, 4.3))


def _check_full_disk(command: list[str], work: Path, room: int) -> list[str]:
    """Run a command whose files may not grow beyond `room` bytes, and return what is wrong with its end."""

    def limited() -> None:
        out, most = io.StringIO(), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
        try:
            with redirect_stdout(out), redirect_stderr(out):
                kills._run(command, work)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            print(out.getvalue(), file=sys.stderr)

    ended = call(limited, work, seconds=kills.SECONDS)
    faults = faults_of(ended)
    if ended.code == 2 and "input or output" in ended.err:
        faults.append("the message does not name the file")
    return faults


def _check_side_by_side(command: list[str], work: Path) -> list[str]:
    """Run three equal commands at once, and return what is wrong with their ends."""
    ended: list[Ended] = []

    def run() -> None:
        ended.append(run_command(command, work, seconds=kills.SECONDS, is_fresh=True))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [fault for each in ended for fault in faults_of(each, codes=(0,))]


def _check_stream(folder: Path) -> list[str]:
    """Predict few and many battles, and return what is wrong with the ends and the memory of the commands."""
    runs, faults, peaks = ["--data", "data", "--runs", "runs"], [], []
    for battles in STREAMED:
        (work := folder / str(battles)).mkdir()
        kills._succeed(["simulate", "data", "--train", "40", "--test", str(battles)], work)
        (work / "data" / "test.csv").rename(work / "many.csv")
        kills._succeed(["run", "prior", *runs], work)
        ended = run_command(["predict", "prior", "many.csv", *runs, "--out", "out.csv"], work, seconds=120)
        faults += faults_of(ended, codes=(0,))
        peaks.append(ended.peak_mb)
        with (work / "out.csv").open(encoding="utf-8") as file:
            lines = sum(1 for _ in file)
        if lines != battles + 1:
            faults.append(f"{lines:,} lines were written for {battles:,} battles")
    if peaks[1] - peaks[0] > MEGABYTES:
        faults.append(f"memory grew from {peaks[0]:,.0f} to {peaks[1]:,.0f} MB")
    return faults
