"""Malformed battle and prediction files, held against an independent reading of the same bytes.

pairrank may refuse a file with one message. If it reads it, every row must be what the independent reading says, or
a message must name the row.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.reliability import malformed
from benchmarks.reliability.commands import Ended, call, run_command
from benchmarks.reliability.independent import (
    Read,
    UnreadableError,
    differences,
    read_battle_file,
    read_prediction_file,
    split_csv,
)
from benchmarks.reliability.judged import faults_of
from benchmarks.reliability.malformed import Rng, pick

COUNT = 2_000
"""Number of cases in a whole campaign."""

FORMATS = ("csv", "csv", "csv.gz", "parquet")
"""Formats of battle files, CSV twice because it can be malformed in the most ways."""
ROLES = ("train", "test", "new", "predictions")
"""What a file is used as: training battles, test battles, the input of `predict`, or predictions to compare."""


class Malformed(NamedTuple):
    """A malformed file."""

    role: str
    suffix: str
    content: bytes
    about: str
    """The changes that were made."""
    is_neutral: bool
    """Whether the changes keep the content, so that the file must be read."""


NEUTRAL = (malformed.columns_reordered, malformed.column_added, malformed.winners_spelled, malformed.rows_shuffled)


def malformed_file(seed: int, index: int) -> Malformed:
    """Return the malformed file of a case."""
    rng = np.random.default_rng([seed, index])
    role = ROLES[index % len(ROLES)]
    suffix = pick(rng, FORMATS[:3] if role == "predictions" else FORMATS)
    if rng.random() < 0.03:
        return Malformed(role, suffix, malformed.other_content(rng), "other content", is_neutral=False)
    table, changes = _changed_table(role, rng)
    level = pick(rng, ("cells", "cells", "writing", "bytes"))
    is_plain = level == "cells"
    content, style = _written(table, suffix, rng, is_plain)
    if level == "bytes":
        content, style = malformed.bytes_damaged(content, rng), f"{style}, damaged bytes"
    if rng.random() < 0.03:  # content of one format under the name of another
        suffix, is_plain = pick(rng, FORMATS), False
    about = f"{', '.join(change.__name__ for change in changes) or 'no change'}; {style}"
    return Malformed(role, suffix, content, about, is_plain and all(change in NEUTRAL for change in changes))


def _changed_table(role: str, rng: Rng) -> tuple[malformed.Table, list[malformed.Change]]:
    if role == "predictions":
        table, kinds = malformed.simulated_predictions(0), malformed.PREDICTION_CHANGES
    else:
        table, kinds = malformed.simulated_table("train" if role == "train" else "test", 0), malformed.CHANGES
    changes = [pick(rng, kinds) for _ in range(int(rng.integers(4)))]
    done = []
    for change in changes:
        if not table.rows or (change is malformed.winners_spelled and role != "train"):
            continue
        try:
            change(table, rng)
        except IndexError:  # an earlier change cut this row
            continue
        done.append(change)
    return table, done


def _written(table: malformed.Table, suffix: str, rng: Rng, is_plain: bool) -> tuple[bytes, str]:
    if suffix == "parquet":
        return malformed.parquet_bytes(table, rng, is_plain), "Parquet" + ("" if is_plain else " of unusual types")
    content = malformed.csv_bytes(table, rng, is_plain or bool(rng.integers(2)))
    if suffix == "csv.gz":
        content = malformed.gzip_bytes(content, rng, is_plain or bool(rng.integers(2)))
    return content, suffix + ("" if is_plain else " written in an unusual way")


# --- What all cases share


def prepare(folder: Path, _seed: int, _indices: range) -> None:
    """Write simulated battles and train two runs on them."""
    for arguments in (["simulate", "good", "--train", "30", "--test", "12"], ["run", "prior", "--data", "good"]):
        ended = run_command(arguments, folder)
        if ended.code:
            raise RuntimeError(ended.out + ended.err)


# --- One case


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return the faults that a malformed file shows; [] if every law holds."""
    made = malformed_file(seed, index)
    return check_file(made, shared, folder)


def check_file(made: Malformed, shared: Path, folder: Path) -> list[str]:
    """Return the faults that one file shows in its role."""
    folder.mkdir(parents=True, exist_ok=True)
    name = {"train": "train", "test": "test"}.get(made.role, "file")
    file = folder / f"{name}.{made.suffix}"
    file.write_bytes(made.content)
    if made.role == "test":
        (folder / "train.csv").write_bytes((shared / "good" / "train.csv").read_bytes())
    reader = call(partial(print_comparison, file, made.role), folder)
    if reader.code or reader.hung:
        found, told = faults_of(reader, codes=(0,)), {"is_read": None, "faults": [], "ids": None}
    else:
        found, told = [], json.loads(reader.out)
    found += told["faults"]
    if made.is_neutral and told["is_read"] is False:
        found.append(f"refused, although only its form was changed: {told['message'][:200]}")
    ended, written = _command(made.role, file, shared, folder)
    found += faults_of(ended)
    if told["is_read"] is False and ended.code == 0:
        found.append("the command read a file that its reader refuses")
    if ended.code == 0 and written is not None and told["ids"] is not None and _ids(written) != sorted(told["ids"]):
        found.append(f"the ids of {written.name} are not those of the file")
    if ended.code == 0 and told.get("repairs") and made.role != "train" and "epair" not in ended.out + ended.err:
        found.append("the command does not mention the repairs of its reader")
    if ended.code and written is not None and written.exists() and made.role == "new":
        found.append(f"{written.name} was written by a command that failed")
    return found


def _ids(file: Path) -> list[str]:
    """Return the sorted ids in a file of predictions; there are none without a file."""
    rows = split_csv(file.read_bytes().decode()) if file.exists() else []
    return sorted(row[0] for row in rows[1:])


def _command(role: str, file: Path, shared: Path, folder: Path) -> tuple[Ended, Path | None]:
    """Run the command that reads a file in its role; return its end, and the file that repeats the ids."""
    good = ["--data", str(shared / "good"), "--runs", str(shared / "runs" / "good")]
    if role == "train":
        return run_command(["run", "prior", "--data", ".", "--runs", "runs"], folder), folder / "runs/prior/oof.csv"
    if role == "test":
        arguments = ["run", "prior", "--fold", "0", "--data", ".", "--runs", "runs"]
        return run_command(arguments, folder), folder / "runs/prior/test/fold0.csv"
    if role == "new":
        return run_command(["predict", "prior", str(file), *good, "--out", "out.csv"], folder), folder / "out.csv"
    (folder / "runs").mkdir()
    added = ["--data", str(shared / "good"), "--runs", "runs", "--add", f"mine={file}"]
    return run_command(["compare", *added], folder), None


# --- In a process of its own, because damaged files may crash a library


def print_comparison(file: Path, role: str) -> None:
    """Print as JSON what pairrank reads in a file, and how that differs from the independent reading."""
    told = compare_predictions(file) if role == "predictions" else compare_battles(file, role)
    json.dump(told, sys.stdout)


def compare_battles(file: Path, role: str) -> dict[str, Any]:
    """Return whether pairrank reads a battle file, the ids that it reads, and the faults of its reading."""
    from pairrank.data.reading import read_battles, read_training_battles
    from pairrank.errors import UserError

    try:
        battles = read_training_battles(file) if role == "train" else read_battles(file, damage="repair")
    except UserError as error:
        return {"is_read": False, "message": str(error), "ids": None, "faults": _message_faults(str(error))}
    names = ("prompt", "response_a", "response_b", "model_a", "model_b", "winner")
    columns = {name: getattr(battles, name) for name in names}
    read = Read(
        battles.id.tolist(),
        {name: column.tolist() for name, column in columns.items() if column is not None},
        list(battles.repairs),
    )
    try:
        faults = differences(read_battle_file(file.read_bytes()), read)
    except UnreadableError as error:
        faults = [f"read, although it has no certain reading: {error}"] if not read.repairs else []
    return {"is_read": True, "ids": read.ids, "repairs": len(read.repairs), "faults": faults}


def compare_predictions(file: Path) -> dict[str, Any]:
    """Return whether pairrank reads a prediction file, and the faults of its reading."""
    from pairrank.data.predictions import read_predictions
    from pairrank.errors import UserError

    try:
        read = read_predictions(file)
    except UserError as error:
        return {"is_read": False, "message": str(error), "ids": None, "faults": _message_faults(str(error))}
    try:
        expected = read_prediction_file(file.read_bytes())
    except UnreadableError as error:
        return {"is_read": True, "ids": None, "faults": [f"read, although it has no certain reading: {error}"]}
    faults = []
    if read.id.tolist() != list(expected):
        faults.append("other ids than those of the file")
    else:
        wanted = np.array(list(expected.values())).reshape(-1, 3)
        close = np.abs(read.proba - wanted).max(initial=0) < 1e-9
        normalised = (
            np.abs(read.proba - wanted / np.maximum(wanted.sum(axis=1, keepdims=True), 1e-300)).max(initial=0)
            < 1e-9
        )
        if not close and not normalised:
            faults.append("other probabilities than those of the file")
    return {"is_read": True, "ids": None, "faults": faults}


def _message_faults(message: str) -> list[str]:
    return [f"a message of {len(message):,} characters"] if len(message) > 4_000 else []


def describe(seed: int, index: int) -> str:
    """Return the changes of a case, in words."""
    made = malformed_file(seed, index)
    return f"{made.role} .{made.suffix}: {made.about}"
