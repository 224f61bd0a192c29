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


def run_cases(name: str, seed: int, indices: range, jobs: int = 2, keep: Path | None = None) -> Tally:
    """Run cases of the class in the module `name`, divided among `jobs` processes.

    The module has `prepare(shared)`, which makes what all cases share, `check(shared, folder, seed, index)`, which
    returns the faults of a case, and `describe(seed, index)`. With `keep`, the folders of failures are kept there.
    """
    module = importlib.import_module(f"benchmarks.reliability.{name}")
    begun = time.monotonic()
    tally = Tally(name, seed)
    with tempfile.TemporaryDirectory(prefix="pairrank-reliability-") as scratch:
        root = Path(scratch)
        os.environ["PAIRRANK_CACHE"] = str(root / "cache")
        (root / "shared").mkdir()
        module.prepare(root / "shared")
        workers = [_start(module, root, seed, indices[job::jobs], keep) for job in range(jobs)]
        for process, pipe in workers:
            with os.fdopen(pipe, encoding="utf-8") as lines:
                for line in lines:
                    tally.tried += 1
                    found = json.loads(line)
                    if found["faults"]:
                        command = f"{PROGRAM} {name} --seed {seed} --case {found['index']}"
                        tally.failures.append(Failure(command, found["about"], found["faults"]))
                    else:
                        tally.held += 1
            os.waitpid(process, 0)
    if tally.tried < len(indices):
        raise RuntimeError(f"{name}: a worker ended after {tally.tried} of {len(indices)} cases")
    tally.seconds = time.monotonic() - begun
    return tally


def _start(module: Any, root: Path, seed: int, indices: range, keep: Path | None) -> tuple[int, int]:
    """Start a process that writes one line of JSON per case into a pipe; return its number and the pipe."""
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return process, read
    os.close(read)
    code = 1
    try:
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            for index in indices:
                folder = root / f"case-{index}"
                folder.mkdir()
                faults = module.check(root / "shared", folder, seed, index)
                if faults and keep:
                    shutil.copytree(folder, keep / f"{module.__name__}-{index}", symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                about = module.describe(seed, index) if faults else ""
                print(json.dumps({"index": index, "faults": faults, "about": about}), file=pipe, flush=True)
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
    for failure in tally.failures:
        print(failure.command, failure.about, *failure.faults, sep="\n    ")
    print(
        f"{tally.name}: {tally.tried} tried, {tally.held} held, {len(tally.failures)} failed, {tally.seconds:.0f} s"
    )
    if given.out:
        given.out.write_text(json.dumps(asdict(tally), indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
