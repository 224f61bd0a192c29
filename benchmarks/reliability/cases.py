"""The cases of one class: run in several processes, counted, and each failure with the command that repeats it."""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reliability.commands import warm_up

PROGRAM = "python -m benchmarks.reliability.cases"


@dataclass
class Failure:
    """A case in which a law did not hold."""

    command: str
    """The command that repeats the case alone."""
    about: str
    faults: list[str]


@dataclass
class Tally:
    """What became of the cases of a class."""

    name: str
    seed: int
    tried: int = 0
    held: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    summary: str = ""
    """What the class says about all its cases together."""


def run_cases(name: str, seed: int, indices: range, jobs: int = 2, keep: Path | None = None) -> Tally:
    """Run cases of the class in the module `name`, divided among `jobs` processes.

    The module has `prepare(shared, seed, indices)`, which makes what these cases share,
    `check(shared, folder, seed, index)`, which returns the faults of a case, and `describe(seed, index)`. It may
    have `summary(shared)`, which returns a sentence about all cases. With `keep`, the folders of failures are kept
    there.
    """
    module = importlib.import_module(f"benchmarks.reliability.{name}")
    begun = time.monotonic()
    tally = Tally(name, seed)
    with tempfile.TemporaryDirectory(prefix="pairrank-reliability-") as scratch:
        root = Path(scratch)
        os.environ["PAIRRANK_CACHE"] = str(root / "cache")
        (root / "shared").mkdir()
        module.prepare(root / "shared", seed, indices)
        read, write = os.pipe()
        workers = [_start(module, root, seed, indices[job::jobs], keep, (read, write)) for job in range(jobs)]
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as lines:
            for line in lines:
                _count(tally, json.loads(line))
        for process in workers:
            os.waitpid(process, 0)
        if hasattr(module, "summary"):
            tally.summary = module.summary(root / "shared")
    if tally.tried < len(indices):
        raise RuntimeError(f"{name}: a worker ended after {tally.tried} of {len(indices)} cases")
    tally.seconds = time.monotonic() - begun
    return tally


def _count(tally: Tally, found: dict[str, Any]) -> None:
    """Add a case to the tally, and print a failure at once."""
    tally.tried += 1
    if not found["faults"]:
        tally.held += 1
        return
    command = f"{PROGRAM} {tally.name} --seed {tally.seed} --case {found['index']}"
    tally.failures.append(Failure(command, found["about"], found["faults"]))
    print(command, found["about"], *found["faults"], sep="\n    ", flush=True)


def _start(module: Any, root: Path, seed: int, indices: range, keep: Path | None, pipe: tuple[int, int]) -> int:
    """Start a process that writes one line of JSON per case into the pipe, and return its number.

    All processes share the pipe: a line of less than 4,096 bytes is written at once. They end when nobody reads it.
    """
    process = os.fork()
    if process:
        return process
    os.close(pipe[0])
    code = 1
    try:
        for index in indices:
            folder = root / f"case-{index}"
            folder.mkdir()
            faults = module.check(root / "shared", folder, seed, index)
            if faults and keep:
                shutil.copytree(folder, keep / f"{module.__name__}-{index}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            about = ascii(module.describe(seed, index))[1:-1][:300] if faults else ""
            line = {"index": index, "faults": [ascii(fault)[1:-1][:240] for fault in faults[:4]], "about": about}
            os.write(pipe[1], json.dumps(line).encode() + b"\n")
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def main() -> None:
    """Run the cases of one class and print the failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the module of the class, such as battle_files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="number of cases; default: the module's COUNT")
    parser.add_argument("--case", type=int, help="run this case only")
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep the folders of failed cases in")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    warm_up()
    module = importlib.import_module(f"benchmarks.reliability.{given.name}")
    count = module.COUNT if given.count is None else given.count
    indices = range(given.first, given.first + count) if given.case is None else range(given.case, given.case + 1)
    tally = run_cases(given.name, given.seed, indices, min(given.jobs, len(indices)), given.keep)
    print(
        f"{tally.name}: {tally.tried} tried, {tally.held} held, {len(tally.failures)} failed, {tally.seconds:.0f} s"
    )
    if given.out:
        given.out.write_text(json.dumps(asdict(tally), indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
