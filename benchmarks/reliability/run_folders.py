"""Damaged run folders: files that are emptied, cut, changed, swapped or replaced by something else.

`predict` must give the same bytes as before the damage, or refuse with a message. `compare` must give the same
scores or leave the run out. `run` repairs what it can: its predictions are the same as before the damage.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.reliability.commands import Ended, run_command
from benchmarks.reliability.judged import faults_of
from benchmarks.reliability.malformed import Rng, bytes_damaged, pick
from benchmarks.reliability.settings import QUICK

MODELS = ("prior", "structure", "kernel", "sparse", "gbdt", "pool", "frozen", "siamese")
"""Models whose runs are damaged: with JSON, text, safetensors and whole encoders in their folders."""

INPUTS = {"gbdt": ("kernel",), "pool": ("structure", "kernel")}
"""What some of them build on; the inputs' folders are damaged as well."""

COUNT = 400
"""Number of cases in a whole campaign."""

SECONDS = 40
"""Time after which a command counts as hung."""


class Damage(NamedTuple):
    """A file of a run, by its path in the folder of runs, and what becomes of it."""

    model: str
    file: str
    kind: str


# --- What all cases share


def prepare(folder: Path, _seed: int, _indices: range) -> None:
    """Train a run of every model on simulated battles, and keep its predictions."""
    from tests.support.architectures import write_checkpoint

    write_checkpoint(folder / "encoder", "bert")
    (folder / "experiments").mkdir()
    for model in MODELS:
        inputs = f"inputs = {json.dumps(list(INPUTS[model]))}\n" if model in INPUTS else ""
        lines = [inputs + "[model]", f'name = "{model}"', *QUICK[model], "[split]", "folds = 2"]
        text = "\n".join(lines).replace("ENCODER", str(folder / "encoder"))
        (folder / "experiments" / f"{model}.toml").write_text(text, encoding="utf-8")
    _succeed(["simulate", "good", "--train", "40", "--test", "12"], folder)
    _succeed(["run", *MODELS, *_folders(folder)], folder)
    for model in MODELS:
        _succeed(["predict", model, "good/test.csv", *_folders(folder), "--out", f"good-{model}.csv"], folder)


def _succeed(arguments: list[str], folder: Path) -> None:
    ended = run_command(arguments, folder, seconds=300)
    if ended.code:
        raise RuntimeError(ended.out + ended.err)


def _folders(shared: Path) -> list[str]:
    return ["--data", str(shared / "good"), "--runs", "runs"]


def files_of(shared: Path) -> list[tuple[str, str]]:
    """Return (model, file) for every file in the folders of all runs."""
    files = [file for model in MODELS for file in sorted((shared / "runs" / model).rglob("*")) if file.is_file()]
    paths = [file.relative_to(shared / "runs") for file in files]
    return [(path.parts[0], str(path)) for path in paths]


# --- Kinds of damage


def emptied(file: Path, rng: Rng) -> None:
    """Remove all bytes, as a full disk or a power cut does."""
    file.write_bytes(b"")


def cut(file: Path, rng: Rng) -> None:
    """Keep the first bytes only."""
    content = file.read_bytes()
    file.write_bytes(content[: int(rng.integers(max(1, len(content))))])


def changed(file: Path, rng: Rng) -> None:
    """Flip, remove, repeat or insert bytes."""
    file.write_bytes(bytes_damaged(file.read_bytes(), rng))


def zeroed(file: Path, rng: Rng) -> None:
    """Replace all bytes by zeros, as some file systems do after a power cut."""
    file.write_bytes(b"\0" * file.stat().st_size)


def removed(file: Path, rng: Rng) -> None:
    """Remove the file."""
    file.unlink()


def swapped_between_folds(file: Path, rng: Rng) -> None:
    """Exchange the file with that of the same name in the other fold."""
    other = Path(str(file).replace("fold0", "fold?").replace("fold1", "fold0").replace("fold?", "fold1"))
    if other != file and other.exists():
        content = file.read_bytes()
        file.write_bytes(other.read_bytes())
        other.write_bytes(content)


def swapped_in_folder(file: Path, rng: Rng) -> None:
    """Exchange the file with another one of its folder."""
    other = pick(rng, sorted(each for each in file.parent.iterdir() if each.is_file()))
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)


def pointer(file: Path, rng: Rng) -> None:
    """Replace the file by a Git LFS pointer, as a clone without LFS has it."""
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n")


def folder_instead(file: Path, rng: Rng) -> None:
    """Put a folder in the file's place."""
    file.unlink()
    file.mkdir()


def pipe_instead(file: Path, rng: Rng) -> None:
    """Put a named pipe in the file's place, which nobody writes to."""
    file.unlink()
    os.mkfifo(file)


def link_to_nothing(file: Path, rng: Rng) -> None:
    """Put a symlink to a missing file in the file's place."""
    file.unlink()
    file.symlink_to("missing")


def link_to_itself(file: Path, rng: Rng) -> None:
    """Put a symlink to itself in the file's place."""
    file.unlink()
    file.symlink_to(file.name)


def link_to_device(file: Path, rng: Rng) -> None:
    """Put a symlink to an endless device in the file's place."""
    file.unlink()
    file.symlink_to("/dev/zero")


def json_changed(file: Path, rng: Rng) -> None:
    """Change one value of a JSON file, remove it, or add a version of the future; other files are emptied."""
    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        return emptied(file, rng)
    places = list(_places(value))
    if not places:
        return emptied(file, rng)
    holder, key = pick(rng, places)
    if rng.random() < 0.2:
        del holder[key]
    elif rng.random() < 0.1 and isinstance(value, dict):
        value["version"] = pick(rng, (999, -1, "x", None, 1e300, [1]))
    else:
        holder[key] = pick(rng, ODD_VALUES)
    return file.write_text(json.dumps(value), encoding="utf-8") and None


def json_of_other_kind(file: Path, rng: Rng) -> None:
    """Replace the file by JSON of another kind."""
    texts = (
        "null",
        "[]",
        "{}",
        "1",
        '"x"',
        "[" * 5_000,
        '{"a":' * 5_000,
        "NaN",
        "1e999",
        "9" * 5_000,
        '{"version": 999}',
        "\ufeff{}",
    )
    file.write_text(pick(rng, texts), encoding="utf-8")


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 99, 10**30, 1e308, float("inf"), float("nan"), "", "x", "1", "../../../x",
    "/etc/passwd", "\u202e\x1b[31m", "\0", "x" * 10_000, [], [None], {}, {"a": {}}, [[]], "prior",
    "structure", 10**400,
)  # fmt: skip
"""Values that take the place of others in a record."""


def _places(value: Any) -> Any:
    """Yield (container, key) for every value inside nested JSON."""
    items = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    for key, inner in items:
        yield value, key
        yield from _places(inner)


KINDS: dict[str, Callable[[Path, Rng], None]] = {
    function.__name__: function
    for function in (
        emptied, cut, changed, zeroed, removed, swapped_between_folds, swapped_in_folder, pointer, folder_instead,
        pipe_instead, link_to_nothing, link_to_itself, link_to_device, json_changed, json_of_other_kind,
    )
}  # fmt: skip

REPAIRABLE = (
    "emptied",
    "cut",
    "changed",
    "zeroed",
    "removed",
    "swapped_between_folds",
    "swapped_in_folder",
    "pointer",
)
"""Damage of fold files after which `run` must succeed. After other kinds it may refuse, with a message."""


# --- One case


def damage_of(shared: Path, seed: int, index: int) -> tuple[Damage, Rng]:
    """Return the damage of a case: first, each file is emptied once; then files and kinds are random."""
    files = files_of(shared)
    rng = np.random.default_rng([seed, index])
    if index < len(files):
        return Damage(*files[index], "emptied"), rng
    model = pick(rng, MODELS + MODELS[:4])  # the others take seconds to train again
    file = pick(rng, [path for owner, path in files if owner == model])
    kinds = list(KINDS)
    kind = pick(rng, ["json_changed", "json_changed", "json_changed", *kinds] if file.endswith(".json") else kinds)
    return Damage(model, file, kind), rng


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return the faults that a damaged run folder shows; [] if every law holds."""
    damage, rng = damage_of(shared, seed, index)
    # What builds on the damaged run is damaged as well.
    victims = [damage.model, *(model for model, inputs in INPUTS.items() if damage.model in inputs)]
    victim = pick(rng, victims)
    for name in ("runs", "experiments"):
        shutil.copytree(shared / name, folder / name)
    KINDS[damage.kind](folder / "runs" / damage.file, rng)
    faults = check_damaged(damage, victim, shared, folder, rng)
    return [f"{damage.file} {damage.kind}: {fault}" for fault in faults]


def check_damaged(damage: Damage, victim: str, shared: Path, folder: Path, rng: Rng) -> list[str]:
    """Return the faults that a run folder shows after its damage; `victim` is the run that is used."""
    folders = _folders(shared)

    def do(*arguments: str) -> tuple[Ended, list[str]]:
        ended = run_command([*arguments, *folders], folder, seconds=SECONDS)
        return ended, [f"{arguments[0]}: {fault}" for fault in faults_of(ended)]

    found = _faults_of_prediction(do, victim, shared, folder)
    kind = pick(rng, ("compare",) * 3 + ("list",) * 3 + ("submit",) * 3 + ("report",))  # a page takes seconds
    if kind == "compare":
        found += _faults_of_comparison(do, shared, folder)
    elif kind == "report":
        found += do("report", "--out", "page.html")[1]
    elif kind == "submit":
        found += do("submit", victim, "--out", "submission.csv")[1]
    else:
        ended = run_command(["list"], folder, seconds=SECONDS)
        found += [f"list: {fault}" for fault in faults_of(ended)]
    ended, faults = do("run", victim)
    found += faults
    if not faults and ended.code and damage.kind in REPAIRABLE and "/fold" in damage.file:
        found.append(f"run: refused to repair it: {ended.err.strip()[:200]}")
    if not faults and ended.code == 0:
        if _content(folder / "runs" / victim / "oof.csv") != _content(shared / "runs" / victim / "oof.csv"):
            found.append("run: other predictions than before the damage")
        found += [f"after run, {fault}" for fault in _faults_of_prediction(do, victim, shared, folder, must=True)]
    return found


def _faults_of_prediction(
    do: Callable[..., Any], victim: str, shared: Path, folder: Path, must: bool = False
) -> list[str]:
    """Return the faults of `predict`, which must succeed after a repair."""
    out = folder / "out.csv"
    out.unlink(missing_ok=True)
    ended, faults = do("predict", victim, str(shared / "good" / "test.csv"), "--out", "out.csv")
    if faults:
        return faults
    if ended.code:
        return [f"predict: refused: {ended.err.strip()[:200]}"] if must else []
    if _content(out) != _content(shared / f"good-{victim}.csv") and "only" not in ended.out:
        return ["predict: other predictions than before the damage"]
    return []


def _faults_of_comparison(do: Callable[..., Any], shared: Path, folder: Path) -> list[str]:
    """Return the faults of `compare`: a row has the scores of the undamaged run, or it is left out by name."""
    ended, faults = do("compare")
    if faults or ended.code:
        return faults
    good, now = (json.loads((place / "runs" / "leaderboard.json").read_text()) for place in (shared, folder))
    expected = {row["label"]: row["log_loss"] for row in good["rows"]}
    shown = {row["label"]: row["log_loss"] for row in now["rows"]}
    found = [
        f"compare: {label} has the log loss {loss}, before the damage {expected[label]}"
        for label, loss in shown.items()
        if label in expected and loss != expected[label]
    ]
    told = ended.out + ended.err
    return found + [
        f"compare: {label} is left out without a word"
        for label in expected
        if label not in shown and label not in told
    ]


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def describe(seed: int, index: int) -> str:
    """Return the damage of a case, in words. The files of random cases are known only once the runs are made."""
    return f"case {index}"
