"""The whole campaign: all classes, one JSON file and one table.

`python -m benchmarks.reliability` takes about 20 minutes on two cores; `--short` takes two minutes.
"""

import argparse
import hashlib
import importlib
import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.reliability.cases import run_cases
from benchmarks.reliability.commands import warm_up

CLASSES = ("battle_files", "settings", "run_folders", "planted", "hostile_text", "kills", "machine")
SHORT = {
    "battle_files": 60,
    "settings": 16,
    "run_folders": 6,
    "planted": 4,
    "hostile_text": 1,
    "kills": 8,
    "machine": 5,
}
"""Number of cases of each class in the short form."""

BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
"""Lines of a Markdown file between which `--table` writes the table."""


def main() -> None:
    """Run the chosen classes; a class that the JSON file has with the same program, seed and count is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--classes", default=",".join(CLASSES), help="classes to run, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", action="append", default=[], metavar="CLASS=N", help="cases of one class")
    parser.add_argument("--short", action="store_true", help="few cases of each class, for continuous integration")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, default=Path("reliability.json"), help="file of the results")
    parser.add_argument("--table", type=Path, help=f"Markdown file to update between {BEGIN} and {END}")
    given = parser.parse_args()
    counts = {name: int(count) for name, _, count in (each.partition("=") for each in given.count)}
    results = _read(given.json)
    warm_up()
    for name in given.classes.split(","):
        default = SHORT[name] if given.short else importlib.import_module(f"benchmarks.reliability.{name}").COUNT
        count = counts.get(name, default)
        key = {"commit": _commit(), "campaign": _hash_of_campaign(), "seed": given.seed, "count": count}
        if {part: results.get(name, {}).get(part) for part in key} == key:
            print(f"{name}: done before", flush=True)
            continue
        print(f"{name}: {count} cases", flush=True)
        tally = run_cases(name, given.seed, range(count), min(given.jobs, count))
        about = {"date": datetime.now(UTC).date().isoformat(), "processor": _processor()}
        results[name] = key | about | asdict(tally)
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {tally.held} of {tally.tried} held, {tally.seconds:.0f} s", flush=True)
    print(table := _table(results))
    if given.table:
        text = given.table.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        given.table.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    raise SystemExit(any(result["failures"] for result in results.values()))


def _table(results: dict[str, Any]) -> str:
    """Return a line for each class, and one for each failure."""
    lines = ["| class | tried | held | failed | seconds | commit |", "|---|---|---|---|---|---|"]
    for name, result in results.items():
        failed = len(result["failures"])
        row = [name, result["tried"], result["held"], failed, round(result["seconds"]), result["commit"]]
        lines.append(f"| {' | '.join(map(str, row))} |")
    about = {f"{result['processor']}, {result['date']}, seed {result['seed']}." for result in results.values()}
    lines += ["", *sorted(about)]
    lines += [f"`{name}`: {result['summary']}" for name, result in results.items() if result["summary"]]
    failures = [failure for result in results.values() for failure in result["failures"]]
    lines += [f"- `{each['command']}`: {'; '.join(each['faults'])}" for each in failures]
    return "\n".join(lines)


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _commit() -> str:
    from pairrank.runs.provenance import commit

    return commit()


def _hash_of_campaign() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _processor() -> str:
    names = [
        line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line
    ]
    return names[0].partition(": ")[2] if names else platform.processor()


if __name__ == "__main__":
    main()
