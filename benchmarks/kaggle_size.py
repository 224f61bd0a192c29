"""Measure every command at the size of Kaggle's competition: 57,477 battles to learn from and 25,000 to predict.

    python benchmarks/kaggle_size.py make FOLDER --battles-of DATA [--train 57477] [--test 25000]
    python benchmarks/kaggle_size.py measure FOLDER --runs RUNS [--only NAME ...] [--out FILE.json] [--check]
    python benchmarks/kaggle_size.py growth SMALL.json LARGE.json [--check]

`make` writes train.csv and test.csv. The texts are recombined from the battles in DATA: a new text is the first
half of one text and the second half of another, so that its length, its words and its form are those of real texts.
The outcome is that of the battle that gives the first halves. One in nine battles repeats an earlier
prompt, as in Kaggle's file. The battles are good for measuring time and memory, and for nothing else.

`measure` runs each command in a process of its own, and reports its wall seconds and the peak memory of all its
processes (shared pages count once for each). A run that RUNS already has is not measured, and the commands get an
empty cache, so that nothing is read that an earlier call has computed. Steps that FILE.json already has are kept,
so that long ones can be measured on their own. The seconds of the processor (`cpu_seconds`) say how much work a
command is, even where other programs use the machine.

`growth` compares two such files, of a small and a large folder: a step whose processor seconds grow as the number
of battles to the power e has the exponent e. With `--check`, none may be above 1.05.
"""

import argparse
import csv
import json
import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

TRAIN, TEST = 57_477, 25_000
SHARE_REPEATED = 1 - 51_212 / 57_477
"""Share of Kaggle's battles whose prompt stands in an earlier battle."""
PAUSE = 0.1
"""Seconds between two measurements of memory."""

LARGEST_EXPONENT = 1.05
"""Largest exponent of a step's processor seconds that `growth --check` accepts."""

RUNS = ("prior", "lengths", "structure", "kernel", "sparse", "frozen-static", "stack", "ensemble-fast")
BOUNDS = {"run structure": 180, "run ensemble-fast": 1200, "explore": 60, "report": 60}
"""Largest wall seconds that `--check` accepts."""
MOST_MEMORY = 4_096
"""Largest peak in MB that `--check` accepts."""


def recombine(battles: Any, count: int, seed: int, prefix: str) -> Any:
    """Return `count` battles whose texts are halves of texts of the given battles."""
    from pairrank.data.battles import TEXTS, Battles, object_array

    rng = np.random.default_rng(seed)
    # The first halves are those of one battle, whose outcome and number of turns are kept.
    first, second = rng.integers(0, len(battles), count), rng.integers(0, len(battles), (len(TEXTS), count))
    columns = {}
    for i, name in enumerate(TEXTS):
        texts = getattr(battles, name)
        columns[name] = object_array([_join(texts[a], texts[b]) for a, b in zip(first, second[i], strict=True)])
    earlier: dict[int, list[tuple[str, ...]]] = {}  # prompts by their number of turns
    for row, repeats in enumerate(rng.random(count) < SHARE_REPEATED):
        fitting = earlier.setdefault(len(columns["prompt"][row]), [])
        if repeats and fitting:
            columns["prompt"][row] = fitting[rng.integers(0, len(fitting))]
        fitting.append(columns["prompt"][row])
    optional = {}
    for name in ("winner", "model_a", "model_b"):
        if (values := getattr(battles, name)) is not None:
            optional[name] = values[first]
    return Battles(id=object_array([f"{prefix}{i}" for i in range(count)]), **columns, **optional)


def _join(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Return a text with the number of turns of the first; each turn's second half is from the second text."""
    ends = second or ("",)
    joined = []
    for i, turn in enumerate(first):
        end = ends[min(i, len(ends) - 1)]
        joined.append(turn[: len(turn) // 2] + end[len(end) // 2 :])
    return tuple(joined)


def make(folder: Path, source: str, train: int, test: int) -> None:
    """Write train.csv and test.csv of recombined battles."""
    from dataclasses import replace

    from pairrank.data.folder import find_data
    from pairrank.data.writing import write_battles

    battles = find_data(Path(source)).train
    folder.mkdir(parents=True, exist_ok=True)
    write_battles(recombine(battles, train, 0, "r"), folder / "train.csv")
    without = replace(recombine(battles, test, 1, "t"), winner=None, model_a=None, model_b=None)
    write_battles(without, folder / "test.csv")
    for name in ("train.csv", "test.csv"):
        print(f"{folder / name}: {(folder / name).stat().st_size / 2**20:.0f} MB")


def commands(folder: Path, runs: Path, scratch: Path) -> dict[str, list[str]]:
    """Return the arguments of each measured command by its name."""
    where = ["--data", str(folder), "--runs", str(runs)]
    steps = {f"run {name}": ["run", name, *where] for name in RUNS}
    return steps | {
        "explore": ["explore", "--data", str(folder), "--out", str(scratch / "data.html")],
        "compare": ["compare", *where],
        "report": ["report", *where, "--out", str(scratch / "report.html")],
        "submit": ["submit", "structure", *where, "--out", str(scratch / "submission.csv")],
        "predict": [
            "predict",
            "structure",
            str(folder / "test.csv"),
            "--runs",
            str(runs),
            "--out",
            str(scratch / "p.csv"),
        ],
    }


def measure(arguments: list[str], cache: Path) -> dict[str, float]:
    """Return wall seconds, processor seconds and the peak memory in MB of a command and all its processes."""
    begun, worked, peak = time.perf_counter(), _child_seconds(), 0
    environment = {**os.environ, "PAIRRANK_CACHE": str(cache)}
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(
            [sys.executable, "-m", "pairrank", *arguments], stdout=output, stderr=output, env=environment
        )
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, [process, *process.children(recursive=True)])))
            time.sleep(PAUSE)
        seconds = time.perf_counter() - begun
        if process.returncode:
            output.seek(0)
            raise SystemExit(
                f"{' '.join(arguments)} ended with {process.returncode}:\n{output.read().decode()[-2000:]}"
            )
    cpu = _child_seconds() - worked
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_mb": round(peak / 2**20)}


def _child_seconds() -> float:
    """Return the processor seconds of all processes that this one has started and that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _memory(process: psutil.Process) -> int:
    """Return the resident bytes of a process, 0 if it has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def count_rows(folder: Path) -> int:
    """Return the number of battles in train.csv and test.csv."""
    csv.field_size_limit(2**31 - 1)
    total = 0
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            total += sum(1 for _ in csv.reader(file)) - 1
    return total


def exponents(small: dict[str, Any], large: dict[str, Any]) -> dict[str, float]:
    """Return the exponent of each step that both measurements have."""
    ratio = math.log(large["battles"] / small["battles"])
    common = [name for name in large["steps"] if name in small["steps"]]
    seconds = {name: [each["steps"][name]["cpu_seconds"] for each in (small, large)] for name in common}
    return {name: round(math.log(after / before) / ratio, 2) for name, (before, after) in seconds.items()}


def complaints(steps: dict[str, dict[str, float]]) -> list[str]:
    """Return one line for each figure outside its bound."""
    slow = [
        f"{name}: {steps[name]['seconds']} s, expected at most {bound} s"
        for name, bound in BOUNDS.items()
        if name in steps and steps[name]["seconds"] > bound
    ]
    missing = [f"{name}: not measured" for name in BOUNDS if name not in steps]
    large = [
        f"{name}: {step['peak_mb']} MB, expected at most {MOST_MEMORY} MB"
        for name, step in steps.items()
        if step["peak_mb"] > MOST_MEMORY
    ]
    return slow + missing + large


def main() -> None:
    """Make the battles, or measure the commands on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    making = parts.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--battles-of", required=True, help="folder or file with real battles")
    making.add_argument("--train", type=int, default=TRAIN)
    making.add_argument("--test", type=int, default=TEST)
    measuring = parts.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--runs", type=Path, required=True)
    measuring.add_argument("--only", nargs="+", default=[], help="names of steps, such as 'run structure'")
    measuring.add_argument("--out", type=Path, help="write the figures as JSON")
    measuring.add_argument("--check", action="store_true", help="fail if a figure is above its bound")
    growing = parts.add_parser("growth")
    growing.add_argument("small", type=Path)
    growing.add_argument("large", type=Path)
    growing.add_argument("--check", action="store_true", help="fail if an exponent is above its bound")
    options = parser.parse_args()
    if options.part == "make":
        make(options.folder, options.battles_of, options.train, options.test)
        return
    if options.part == "growth":
        small, large = (json.loads(file.read_text(encoding="utf-8")) for file in (options.small, options.large))
        found = exponents(small, large)
        print(json.dumps(found, indent=2))
        steep = [f"{name}: {found[name]}" for name in found if found[name] > LARGEST_EXPONENT]
        if options.check and steep:
            raise SystemExit(f"exponents above {LARGEST_EXPONENT}: {', '.join(steep)}")
        return
    measure_steps(options)


def measure_steps(options: argparse.Namespace) -> None:
    """Measure the chosen commands, and check them if requested."""
    from pairrank.files import read_json, write_json

    found: dict[str, Any] = {
        "machine": platform.platform(),
        "cores": psutil.cpu_count(logical=False),
        "battles": count_rows(options.folder),
        "steps": ((options.out and read_json(options.out)) or {"steps": {}})["steps"],
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, arguments in commands(options.folder, options.runs, Path(scratch)).items():
            if options.only and name not in options.only:
                continue
            if arguments[0] == "run" and (options.runs / arguments[1]).exists():
                raise SystemExit(
                    f"{options.runs}: has a run of {arguments[1]}, which would be measured as no work. Name "
                    "another folder."
                )
            found["steps"][name] = measure(arguments, Path(scratch) / "cache")
            print(name, json.dumps(found["steps"][name]), flush=True)
            if options.out:
                write_json(options.out, found)
    if options.check and (wrong := complaints(found["steps"])):
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
