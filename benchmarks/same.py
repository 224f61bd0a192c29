"""Compare two folders of runs, such as those of two versions of the code: which predictions differ, and how much.

python benchmarks/same.py RUNS-BEFORE RUNS-AFTER

Every out-of-fold and test prediction file below the first folder is looked for below the second. Exits with 1 if
one is missing or differs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pairrank.data.predictions import read_predictions
from pairrank.errors import UserError


def prediction_files(folder: Path) -> list[Path]:
    """Return the prediction files of runs below a folder, without those of runs inside folds, relative to it."""
    files = [*folder.rglob("oof.csv"), *folder.rglob("test.csv"), *folder.rglob("test/fold*.csv")]
    return sorted(file.relative_to(folder) for file in files if "inner" not in file.relative_to(folder).parts)


def difference(before: Path, after: Path) -> str:
    """Return how a prediction file differs from another, or "" if they are equal to the last digit."""
    if not after.is_file():
        return "missing"
    if before.read_bytes() == after.read_bytes():
        return ""
    try:
        ours, theirs = read_predictions(before), read_predictions(after)
        gap = np.abs(ours.proba - theirs.align(ours.id).proba).max()
    except UserError as error:
        return str(error).splitlines()[0]
    return f"largest difference {gap:.3g}"


def main() -> None:
    """Print each file that differs, and how many are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    folders = parser.parse_args()
    files = prediction_files(folders.before)
    found = {file: difference(folders.before / file, folders.after / file) for file in files}
    for file, what in found.items():
        if what:
            print(f"{file}: {what}")
    equal = sum(not what for what in found.values())
    print(f"{equal} of {len(files)} prediction files are equal to the last digit.")
    sys.exit(0 if files and equal == len(files) else 1)


if __name__ == "__main__":
    main()
