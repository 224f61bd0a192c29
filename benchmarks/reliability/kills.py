"""Commands that are killed or interrupted at a file operation or at any moment, and then started again.

The files afterwards must be those of a command that was never killed, and no temporary file may stay. A killed
search must have tried the same settings with the same losses.
"""

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Set as AbstractSet
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability.commands import Ended, call, run_command
from benchmarks.reliability.judged import faults_of

COUNT = 320
"""Number of cases in a whole campaign."""

SECONDS = 60
"""Time after which a command counts as hung."""

FOLDERS = ["--data", "data", "--runs", "runs"]
QUICK = '[model]\nname = "structure"\nseeds = 1\nrounds = 8\ntie_rounds = 8\n[split]\nfolds = 3\n'
EXPERIMENTS = {
    "quick": QUICK,
    "plain": '[model]\nname = "structure"\nlearner = "logistic"\ngroups = ["length"]\n[split]\nfolds = 3\n',
    "mixed": 'inputs = ["quick", "plain"]\n[model]\nname = "pool"\nweights = "fitted"\n[split]\nfolds = 3\n',
    "nested": 'inputs = ["plain"]\n[model]\nname = "pool"\nweights = "fitted"\n[split]\nfolds = 3\nnested = true\n',
    "searched": '[model]\nname = "structure"\nlearner = "logistic"\n[split]\nfolds = 4\n[search]\n'
    "penalty = {low = 10.0, high = 1000.0, log = true}\n",
    "read": '[model]\nname = "siamese"\nencoder = "ENCODER"\nmax_tokens = 24\ntraining = {epochs = 2}\n[split]\n'
    "folds = 2\n",
}
TUNE = ["tune", "searched", *FOLDERS, "--trials", "5"]

COMMANDS: dict[str, tuple[list[list[str]], list[str]]] = {
    "run": ([], ["run", "quick", *FOLDERS]),
    "run with inputs": ([], ["run", "mixed", *FOLDERS]),
    "run --nested": ([], ["run", "nested", *FOLDERS]),
    "run again after a change": ([["run", "quick", *FOLDERS], ["change"]], ["run", "quick", *FOLDERS]),
    "submit": ([["run", "quick", *FOLDERS]], ["submit", "quick", *FOLDERS, "--out", "out.csv"]),
    "predict": ([["run", "quick", *FOLDERS]], ["predict", "quick", "data/test.csv", *FOLDERS, "--out", "out.csv"]),
    "compare --publish": ([["run", "quick", *FOLDERS]], ["compare", *FOLDERS, "--publish", "published"]),
    "explore": ([], ["explore", "--data", "data", "--out", "page.html"]),
    "simulate": ([], ["simulate", "new", "--train", "40", "--test", "10"]),
    "tune": ([], TUNE),
    "run of a fine-tuning": ([], ["run", "read", *FOLDERS]),
    "tune --jobs 2": ([], [*TUNE, "--jobs", "2"]),
}
"""What is killed: commands that are run before, and the command. "change" alters the experiment `quick`."""

SLOW = ("explore", "tune", "run of a fine-tuning", "tune --jobs 2")
"""Commands that share one case in ten, because they take seconds."""

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "sqlite3.connect")
"""Audit events, besides "open", of operations that change files."""

TIMED = (
    *("training_seconds", "predict_seconds", "battles_per_second", "peak_memory_mb", "history", "report", "alone"),
    "commit",
)
"""Keys of metrics.json and fold.json that hold durations or memory, or tables with them, and the commit."""

LEFT_OUT = ("model-card.md", "LEADERBOARD.md", "leaderboard.json", "history.csv", "curves.png", ".workers")
"""Files with durations, and locks."""


STOPPED = "stopped"
"""File with one letter for each command that was stopped: k for a kill, i for Ctrl-C."""


def summary(shared: Path) -> str:
    """Return how many commands were really stopped: one that is started again may end before its turn comes."""
    stopped = (shared / STOPPED).read_bytes()
    return f"{stopped.count(b'k')} commands were killed, {stopped.count(b'i')} were ended by Ctrl-C."


def prepare(folder: Path, seed: int, indices: range) -> None:
    """Prepare the commands of these cases."""
    prepare_commands(folder, {_plan(seed, index)[0] for index in indices})


def prepare_commands(folder: Path, names: AbstractSet[str]) -> None:
    """Make the folder in which each command begins, and what it looks like after an uninterrupted one."""
    from tests.support.architectures import write_checkpoint

    write_checkpoint(folder / "encoder", "bert")
    first = folder / "first"
    (first / "experiments").mkdir(parents=True)
    for name, text in EXPERIMENTS.items():
        text = text.replace("ENCODER", str(folder / "encoder"))
        (first / "experiments" / f"{name}.toml").write_text(text, encoding="utf-8")
    _succeed(["simulate", "data", "--train", "40", "--test", "10"], first)
    counts = {}
    for number, (name, (before, command)) in enumerate(COMMANDS.items()):
        if name not in names:
            continue
        begin, end = folder / f"begin-{number}", folder / f"end-{number}"
        shutil.copytree(first, begin)
        for each in before:
            if each == ["change"]:
                (begin / "experiments" / "quick.toml").write_text(QUICK.replace("8", "9"), encoding="utf-8")
            else:
                _succeed(each, begin)
        shutil.copytree(begin, end)
        counter = folder / "events"
        counter.write_bytes(b"")
        ended = call(partial(_run, command, end, counter=counter), end, seconds=SECONDS)
        if ended.code:
            raise RuntimeError(f"{name}: {ended.out}{ended.err}")
        counts[name] = counter.stat().st_size
    (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")


def describe(seed: int, index: int) -> str:
    """Return the command of a case, and how it is killed."""
    name, kills, kind = _plan(seed, index)
    return f"{name}: {kind} {len(kills)} times, at {', '.join(f'{share:.3f}' for share in kills)} of its operations"


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return what differs from an uninterrupted command after a killed one was started again."""
    name, kills, kind = _plan(seed, index)
    number, command = list(COMMANDS).index(name), COMMANDS[name][1]
    events = json.loads((shared / "counts.json").read_text(encoding="utf-8"))[name]
    shutil.copytree(shared / f"begin-{number}", folder / "work")
    work, faults = folder / "work", []
    for share in kills:
        at = 1 + int(share * events)
        ended = call(partial(_run, command, work, at, kind), work, seconds=SECONDS)
        faults += _faults_of_killed(ended, kind)
        how = {-signal.SIGKILL: b"k", -signal.SIGALRM: b"k", 130: b"i"}
        with (shared / STOPPED).open("ab") as file:
            file.write(how.get(ended.code, b""))
    ended = run_command(command, work, seconds=SECONDS)
    faults += faults_of(ended, codes=(0,))
    if not faults:
        faults += _differences(shared / f"end-{number}", work, name)
    return faults


def _plan(seed: int, index: int) -> tuple[str, list[float], str]:
    """Return the name of a command, the shares of its operations at which it is killed, and how."""
    rng = Random(f"{seed}/{index}")  # noqa: S311  # no secret
    names = [name for name in COMMANDS if name not in SLOW]
    name = SLOW[index // 10 % len(SLOW)] if index % 10 == 9 else names[index % len(names)]
    kills = [rng.random() for _ in range(3 if rng.random() < 0.15 else 1)]
    return name, kills, rng.choice(["kill", "kill", "kill", "interrupt", "alarm"])


def _run(command: list[str], folder: Path, at: int = 0, kind: str = "", counter: Path | None = None) -> None:
    """Run a command that is killed before its file operation number `at`, or counts its operations."""
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not _is_operation(event, arguments, str(folder)):
            return
        seen[0] += 1
        if counter is not None:
            with counter.open("ab") as file:
                file.write(b".")
        elif seen[0] == at:
            if kind == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            elif kind == "alarm":  # soon, in the middle of something else
                signal.setitimer(signal.ITIMER_REAL, 0.003)
            else:
                os.killpg(0, signal.SIGKILL)

    from benchmarks.reliability.commands import _main

    sys.addaudithook(hook)
    _main(command)


def _is_operation(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Return whether an audit event changes a file in the folder."""
    if event == "open":
        _, mode, flags = arguments
        is_write = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not is_write and not (isinstance(mode, str) and set(mode) & set("wax+")):
            return False
    elif event not in CHANGES:
        return False
    name = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
    return bool(name) and (not name.startswith("/") or name.startswith(folder))


def _faults_of_killed(ended: Ended, kind: str) -> list[str]:
    """Return what is wrong with the end of a killed command, which may have ended before."""
    if kind == "interrupt":
        return faults_of(ended, codes=(0, 130))
    return [] if ended.code in (0, -signal.SIGKILL, -signal.SIGALRM) and not ended.hung else faults_of(ended, (0,))


def _differences(expected: Path, found: Path, name: str) -> list[str]:
    """Return the files that differ between the two folders, apart from durations."""
    wanted, given = _contents(expected), _contents(found)
    faults = [f"a temporary file stayed: {file}" for file in given if Path(file).name.startswith(".pairrank-")]
    if name.startswith("tune"):
        tries, others = _trials(expected), _trials(found)
        if name == "tune" and tries != others:
            lost, new = (
                [each for each in one if each not in other] for one, other in ((tries, others), (others, tries))
            )
            faults.append(f"the search tried {new or 'nothing'} instead of {lost or 'nothing'}")
        if len(others) < len(tries):
            faults.append(f"the search ended after {len(others)} trials")
        return faults
    faults += [f"missing: {file}" for file in wanted.keys() - given.keys()]
    faults += [f"not expected: {file}" for file in given.keys() - wanted.keys()]
    return faults + [f"differs: {file}" for file in wanted.keys() & given.keys() if wanted[file] != given[file]]


def _contents(folder: Path) -> dict[str, Any]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in LEFT_OUT]
    return {str(file.relative_to(folder)): _content(file) for file in files}


def _content(file: Path) -> Any:
    """Return the bytes of a file; the records without durations."""
    if file.name not in ("metrics.json", "fold.json") and file.parents[1].name != "results":
        return file.read_bytes()
    return {key: value for key, value in json.loads(file.read_bytes()).items() if key not in TIMED}


def _trials(folder: Path) -> list[Any]:
    """Return the settings and losses of all finished trials of the study."""
    file = next(folder.glob("runs/*+tuning/study.db"))
    query = (
        "SELECT p.param_value, v.value FROM trials t JOIN trial_params p USING (trial_id) "
        "JOIN trial_values v USING (trial_id) WHERE t.state = 'COMPLETE'"
    )
    with closing(sqlite3.connect(file)) as study:
        return sorted(study.execute(query).fetchall())


def _succeed(arguments: list[str], folder: Path) -> None:
    ended = run_command(arguments, folder, seconds=SECONDS)
    if ended.code:
        raise RuntimeError(f"{arguments}: {ended.out}{ended.err}")
