"""Seconds and peak memory of reading battle files of each kind, and of predicting a long stream of JSON Lines.

`python benchmarks/reading.py --out benchmarks/results/reading.json`; the battles are simulated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.data.battles import Battles
from pairrank.data.simulation import simulate
from pairrank.data.tables import json_line
from pairrank.data.writing import write_battles

FILES = (
    ("kaggle", ".csv"),
    ("kaggle", ".csv.gz"),
    ("kaggle", ".jsonl"),
    ("kaggle", ".jsonl.gz"),
    ("kaggle", ".parquet"),
    ("chatbot_arena", ".jsonl"),
    ("chatbot_arena", ".parquet"),
    ("trl_preference", ".jsonl"),
)
"""Schemas and endings of the files that are read."""

BLOCK = 20_000
STATUS = "open('/proc/self/status').read().split('VmHWM:')[1].split()[0]"
PEAK = f"import atexit; atexit.register(lambda: print({STATUS}))"
"""Makes a process print its largest resident memory in kB; the one that wait4 reports begins with its parent's."""

READ = "import sys; from pairrank import read_battles; read_battles(sys.argv[1])"
COMMAND = "from pairrank.cli.app import main; main()"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--battles", type=int, default=57_477, help="battles of each file; Kaggle's number")
    parser.add_argument(
        "--stream", type=int, nargs=2, default=(100_000, 1_000_000), help="a short and a long stream"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found: dict[str, Any] = {"read": reading(Path(name), given.battles)}
        found["predict"] = streaming(Path(name), given.stream)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def reading(folder: Path, n: int) -> list[dict[str, Any]]:
    """Return seconds and peak memory of reading n battles from each kind of file."""
    battles, _ = simulate(n)
    rows = []
    for schema, suffix in FILES:
        kept = decided(battles) if schema == "trl_preference" else battles
        write_battles(kept, file := folder / f"{schema}{suffix}", schema)
        seconds, peak = measure(READ, [str(file)], folder)
        rows.append(
            {"schema": schema, "kind": suffix, "battles": len(kept), "mb": size(file), **timed(seconds, peak)}
        )
        print(rows[-1], flush=True)
        file.unlink()
    return rows


def streaming(folder: Path, counts: tuple[int, int]) -> list[dict[str, Any]]:
    """Return seconds and peak memory of predicting streams of JSON Lines with the prior."""
    commands = [["simulate", "data", "--train", "100", "--test", "10"]]
    commands += [["run", "prior", "--data", "data", "--runs", "runs"]]
    for command in commands:
        measure(COMMAND, command, folder)
    rows = []
    for n in counts:
        file = folder / "stream.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for start in range(0, n, BLOCK):
                part, _ = simulate(min(BLOCK, n - start), start=start)
                texts = zip(part.id, part.prompt, part.response_a, part.response_b, strict=True)
                names = ("id", "prompt", "response_a", "response_b")
                lines.writelines(json_line(dict(zip(names, row, strict=True))) for row in texts)
        predict = ["predict", "prior", file.name, "--data", "data", "--runs", "runs", "--out", "out.csv"]
        seconds, peak = measure(COMMAND, predict, folder)
        rows.append({"battles": n, "mb": size(file), **timed(seconds, peak)})
        print(rows[-1], flush=True)
    return rows


def decided(battles: Battles) -> Battles:
    """Return the battles that files of chosen and rejected answers can hold."""
    rows = (battles.labels != 2) & np.array(
        [a != b for a, b in zip(battles.response_a, battles.response_b, strict=True)]
    )
    one_turn = np.array([len(prompt) == 1 for prompt in battles.prompt])
    return replace(battles.take(rows & one_turn), model_a=None, model_b=None)


def measure(code: str, arguments: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds and the peak resident memory in MB of Python code in a process of its own."""
    begun = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"{PEAK}; {code}", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.monotonic() - begun, int(done.stdout.split()[-1]) / 1024


def size(file: Path) -> float:
    """Return the size of a file in MB."""
    return round(file.stat().st_size / 1e6, 1)


def timed(seconds: float, peak: float) -> dict[str, float]:
    """Return rounded measurements."""
    return {"seconds": round(seconds, 1), "peak_mb": round(peak)}


if __name__ == "__main__":
    main()
