"""Malformed experiment files, extreme hyperparameters, strange options, environments and closed streams.

Every command must end with exit code 0 or with one message. A run that succeeds must have used the given value, and
its predictions must be probabilities.
"""

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.commands import Ended, run_command
from benchmarks.reliability.independent import UnreadableError, read_prediction_file
from benchmarks.reliability.judged import faults_of
from benchmarks.reliability.malformed import Rng, bytes_damaged, pick

COUNT = 500
"""Number of cases in a whole campaign."""

SECONDS = 15
"""Time after which a command is interrupted. Some settings ask for years of work, which Ctrl-C must end."""

QUICK = {
    "structure": ["seeds = 1", "rounds = 8", "tie_rounds = 8"],
    "kernel": [],
    "sparse": ["min_count = 1"],
    "prior": [],
    "identity": [],
    "gbdt": ['identity = "guessed"', 'groups = ["length"]', "seeds = 1", "rounds = 8"],
    "pool": ['weights = "fitted"'],
    "frozen": ['encoder = "ENCODER"', "max_tokens = 24", 'head = "difference"', "steps = 5"],
    "siamese": ['encoder = "ENCODER"', "max_tokens = 24", "training = {epochs = 1}"],
    "baseline": ['encoder = "ENCODER"', "max_tokens = 24", "training = {epochs = 1}"],
}
"""Models with settings that train in a second; ENCODER stands for a tiny encoder."""

NUMBERS = (
    "0", "-1", "1", "2", "3", "0.5", "0.999999", "1e-300", "1e300", "-1e300", "nan", "inf", "-inf", "99999999999",
    "2147483648", "9223372036854775808", "9" * 30, "9" * 5_000, "1_000", "0x10", "1e400",
)  # fmt: skip
OTHERS = (
    "true", "false", "''", "'x'", "'a\\u0000b'", "[]", "[1]", "[1, 2]", "[2, 1]", "[0, 0]", "[1, 99999999]",
    "['']", "['length']", "['length', 'length']", "{}", "{a = 1}", "[[[1]]]", "1979-05-27", "[" * 3_000,
    "{a=" * 2_000, "'" + "x" * 9_000 + "'", "\udcff", "'\u202e'", "\x1b[31m", "", " ", "=", "1\nname = 'prior'",
    "'..'", "'/dev/zero'", "'https://example.org/x'",
)  # fmt: skip
PATHS = (
    "", ".", "..", "/", "missing", "a\udcffb", "x" * 300, "x/" * 2_000, "file", "file/x", "\0", "a b", "a%41b",
    "a?b#c", "-", "~", "\u202ex", "a\nb", "/proc/self/mem", "/dev/full", "new/deep/folder", "con", "nul.csv",
    "x.csv", "x.parquet", "x.csv.gz",
)  # fmt: skip


@dataclass
class Command:
    """A command, and what surrounds it."""

    arguments: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    """Files in the current folder, by path."""
    environment: dict[str, str | None] = field(default_factory=dict)
    closed: tuple[int, ...] = ()
    """Numbers of the streams that are closed: input, output, errors."""
    is_fresh: bool = False
    """Whether it needs an interpreter of its own."""
    given: tuple[str, str] | None = None
    """A hyperparameter of the run and its value as TOML, which the run's record must contain."""


# --- Cases


def command_of(seed: int, index: int) -> Command:
    """Return the command of a case. `DATA`, `RUNS` and `ENCODER` in it stand for what all cases share."""
    rng = np.random.default_rng([seed, index])
    kinds = (_parameter, _parameter, _experiment_file, _option, _environment)
    return kinds[index % len(kinds)](rng)


def _model_file(model: str) -> bytes:
    head = {"identity": "submittable = false\n", "pool": 'inputs = ["prior"]\n', "gbdt": 'inputs = ["prior"]\n'}
    return "\n".join([head.get(model, "") + "[model]", f'name = "{model}"', *QUICK[model]]).encode()


def _parameter(rng: Rng) -> Command:
    """Give one hyperparameter of one model an extreme value."""
    from pairrank.cli.parameters import model_parameters

    model = pick(rng, list(QUICK))
    parameter = pick(rng, model_parameters(model)[1])
    likely, unlikely = (
        (NUMBERS, OTHERS) if "number" in parameter.accepts or "share" in parameter.accepts else (OTHERS, NUMBERS)
    )
    value = pick(rng, likely if rng.random() < 0.8 else unlikely)
    arguments = [
        "run",
        "mine.toml",
        "--fold",
        "0",
        "--data",
        "DATA",
        "--runs",
        "runs",
        "--set",
        f"{parameter.key}={value}",
    ]
    return Command(arguments, {"mine.toml": _model_file(model)}, given=(parameter.key, value))


PARTS = (
    "a = " + "[" * 5_000, "[split]\nfolds = 99999999999999999999999", "[split]\nfolds = 1", "[split]\nfolds = 0",
    "[split]\nfolds = 31", "[split]\nfolds = 1000000", "[split]\nlimit = -1", "[split]\nlimit = 1",
    "[split]\nsalt = 5", '[split]\nsalt = "\\u0000"', "[split]\nnested = true", "[split]\nfolds = 2.0",
    "split = 1", 'inputs = ["mine"]', 'inputs = ["mine.toml"]', "inputs = [1]", 'inputs = "prior"',
    'inputs = [["prior"]]', 'inputs = ["prior", "prior"]', 'inputs = ["../x"]', 'inputs = ["\\u0000"]',
    "extra = [1]", 'extra = ["DATA/train.csv"]', 'extra = ["/dev/zero"]',
    'extra = [{path = "DATA", weight = inf}]', 'extra = [{path = "DATA", weight = 1e-320}]',
    'extra = [{weight = 1}]', 'extra = ["x\\u0000"]', 'teacher = "mine"', 'teacher = "prior"',
    'soft_targets = "DATA/train.csv"', 'soft_targets = "missing.csv"', 'soft_targets = "/dev/zero"',
    "seconds = -1", "seconds = inf", "seconds = nan", "seconds = " + "9" * 4_000, "submittable = 1",
    "submittable = false", 'about = ""', 'about = "\\u202e\\u001b[31m"', "about = 1", "tuned_on = [0]",
    "tuned_on = [0,1,2,3,4]", "tuned_on = [-1]", "tuned_on = [99]", "tuned_on = [true]", 'tuned_on = "0"',
    "[search]\npenalty = {low = 1.0, high = 0.0}", "[search]\npenalty = []", "[search]\npenalty = {}",
    "[search]\nx = 1", "search = 1", "[search]\npenalty = {low = 0.0, high = 1.0, log = true}",
    "[search]\npenalty = {low = nan, high = inf}", "[search]\npenalty = [1, 'x', true, []]", "unknown = 1",
    "[unknown]", "[model.training]\nepochs = 1", "[model.unknown.deep.table]\nx = 1", "[[model]]\nname = 'prior'",
    "\ufeff", "\0", "\r", '"\\u0000" = 1', '"" = 1', "[model.\"\"]", "[" + "a." * 3_000 + "a]",
    "a." * 3_000 + "a = 1", "# \udcff", "x = 1979-05-27T07:32:00Z", "'" * 3, '"' * 3,
)  # fmt: skip


def _experiment_file(rng: Rng) -> Command:
    """Add parts to an experiment file, or damage its bytes."""
    model = pick(rng, ("prior", "structure", "kernel", "pool", "gbdt", "sparse"))
    lines = _model_file(model).decode()
    for _ in range(int(rng.integers(1, 3))):
        part = pick(rng, PARTS)
        lines = f"{lines}\n{part}\n" if part.startswith("[") or rng.random() < 0.2 else f"{part}\n{lines}"
    content = lines.encode("utf-8", "surrogateescape")
    if rng.random() < 0.3:
        content = bytes_damaged(content, rng)
    if rng.random() < 0.04:
        content = pick(
            rng,
            (b"", b"\0" * 10_000, b"\xff\xfe", b"[" * 200_000, b"a=1\n" * 50_000, b"x" * 2_000_000, b"[model]\n"),
        )
    command = pick(rng, ("run", "run", "run", "run --dry-run", "describe", "tune", "list"))
    name = pick(rng, ("mine.toml", "mine.toml", "./mine.toml", "mine"))
    place = "experiments/mine.toml" if name == "mine" or command == "list" else "mine.toml"
    folders = ["--data", "DATA", "--runs", "runs"]
    arguments = {
        "run": ["run", name, "--fold", "0", *folders],
        "run --dry-run": ["run", name, "--dry-run", *folders],
        "describe": ["describe", name],
        "tune": ["tune", name, "--trials", "1", *folders],
        "list": ["list"],
    }[command]
    return Command(arguments, {place: content})


COUNTS = (
    "0",
    "1",
    "-1",
    "4",
    "5",
    "99",
    "99999999999999999999",
    "1.5",
    "x",
    "",
    "0x1",
    "１",
    "1e3",
    "9" * 5_000,
    "2147483648",
)
TEXT = (
    "",
    " ",
    "\udcff",
    "x" * 100_000,
    "\u202e",
    "\x1b[31m",
    "é",
    "e\u0301",
    "=",
    "a=b",
    "[",
    "--",
    "-x",
    "\n",
    "$(id)",
    "%s",
    "{}",
    "{0}",
)


def _option(rng: Rng) -> Command:
    """Give one option of one command a strange value."""
    model = {"mine.toml": _model_file("structure")}
    run = ["run", pick(rng, ("mine.toml", "prior")), "--data", "DATA", "--runs", "runs"]
    tune = ["tune", "structure", "--data", "DATA", "--runs", "runs"]
    good = ["--data", "DATA", "--runs", "RUNS"]
    path, count, text = pick(rng, PATHS), pick(rng, COUNTS), pick(rng, TEXT)
    changes = (
        f"{text}=1", f"seed={count}", "penalty", "=", "a.b.c=1", "name=prior", "model.name=prior", "trees=1",
        "trees.x.y=2", f"groups={text}", "split.folds=3", "training.epochs=1", f"{'a.' * 3_000}a=1", "seed=1 ",
    )  # fmt: skip
    extra = (f"{path}=0.2", path, f"DATA={count}", "DATA/train.csv=1", "=", f"DATA={text}")
    options = (
        [*run, "--set", pick(rng, changes), "--fold", "0"],
        [*run, "--set", pick(rng, changes), "--set", pick(rng, changes), "--fold", "0"],
        [*run, "--salt", text, "--fold", "0"], [*run, "--limit", count], [*run, "--fold", count],
        [*run, "--seed", count, "--fold", "0"], [*run, "--seed", count, "--seed", count, "--fold", "0"],
        [*run, "--extra", pick(rng, extra), "--fold", "0"],
        [*run, "--track", text or "mlflow", "--fold", "0"], [*run, "--engine", text or "x"],
        ["run", "prior", "--data", "DATA", "--runs", path or "runs"],
        ["run", "prior", "--data", path, "--runs", "runs"], ["run", path, "--data", "DATA", "--runs", "runs"],
        ["run", text, "--data", "DATA", "--runs", "runs"],
        ["run", "prior", "prior", "--data", "DATA", "--runs", "runs"],
        ["predict", "prior", "DATA/test.csv", *good, "--out", path],
        ["predict", "prior", path, *good, "--out", "out.csv"],
        ["predict", text, "DATA/test.csv", *good, "--out", "out.csv"],
        ["predict", path, "DATA/test.csv", *good, "--out", "out.csv"], ["submit", "prior", *good, "--out", path],
        ["submit", path, *good, "--out", "out.csv"], ["explore", "--data", "DATA", "--out", path],
        ["explore", "--data", path, "--out", "page.html"],
        ["explore", "--data", "DATA", "--encoder", path, "--out", "page.html"], ["report", *good, "--out", path],
        ["report", path, *good, "--out", "page.html"],
        ["report", *good, "--published", path, "--out", "page.html"],
        ["compare", "--data", "DATA", "--runs", path], ["compare", *good, "--reference", text],
        ["compare", *good, "--add", f"{text}=DATA/train.csv"], ["compare", *good, "--add", f"x={path}"],
        ["compare", *good, "--publish", path],
        ["ratings", "--data", "DATA", "--penalty", pick(rng, (*COUNTS, "nan", "inf", "1e-300", "1e300", "-0.0"))],
        ["ratings", "--data", path], ["simulate", path, "--train", "5", "--test", "5"],
        ["simulate", "d", "--train", pick(rng, ("0", "1", "-1", "x", "", "3")), "--test", "1"],
        ["simulate", "d", "--train", "3", "--test", "3", "--seed", count],
        ["tune", "mine.toml", "--data", "DATA", "--runs", path or "runs", "--trials", "1"],
        [*tune, "--trials", pick(rng, ("0", "-1", "x", "")), "--jobs", count],
        [*tune, "--trials", "1", "--storage", pick(rng, (path, f"sqlite:///{path}", "x://", "postgresql://x"))],
        [*tune, "--trials", "1", "--untouched", count],
        [*tune, "--timeout", "0"], ["describe", text],
        ["describe", path], ["doctor", "--data", path], ["fetch-encoder", text], ["list", text], [text],
        ["--debug", text, text],
    )  # fmt: skip
    return Command(pick(rng, options), model)


ENVIRONMENT: dict[str, tuple[str | None, ...]] = {
    "HOME": (None, "", "/", "/missing", "/dev/null", "a\udcffb", "relative"),
    "RANK": ("", "0", "1", "-1", "x", "1.5", "9" * 5_000),
    "WORLD_SIZE": ("", "0", "1", "-1", "x", "2", "9" * 30),
    "LOCAL_RANK": ("", "x", "-1"),
    "COLUMNS": ("", "0", "1", "-5", "x", "9" * 30, "3", "1000000"),
    "LINES": ("", "0", "-1", "x"),
    "PAIRRANK_CACHE": ("", "/dev/null", "/proc", "mine.toml", "x" * 300, "a\udcffb", "cache here", "/missing/x"),
    "PAIRRANK_CACHE_GB": ("", "0", "-1", "x", "nan", "inf", "1e-9", "1e300", "0,5"),
    "PAIRRANK_NO_CACHE": ("", "1", "0"),
    "XDG_CACHE_HOME": ("", "/dev/null", "relative"),
    "LC_ALL": ("", "C", "POSIX", "C.UTF-8", "xx_XX", "tr_TR.UTF-8"),
    "LANG": ("C", "x"),
    "PYTHONIOENCODING": ("ascii", "latin-1:strict"),
    "TERM": ("", "dumb", "x", "xterm-256color"),
    "NO_COLOR": ("", "1"),
    "FORCE_COLOR": ("1", "x"),
    "TZ": ("", "x", "Asia/Kathmandu"),
    "TMPDIR": ("", "/missing", "/dev/null"),
    "HF_HOME": ("", "/dev/null", "/missing"),
    "MPLBACKEND": ("x", "Qt5Agg", ""),
    "MPLCONFIGDIR": ("/dev/null", ""),
    "OMP_NUM_THREADS": ("", "0", "-1", "x", "9999"),
    "MASTER_ADDR": ("x", ""),
    "USER": (None, ""),
    "PATH": ("", "/missing"),
}
"""Variables, and values that a shell, a container or a cluster may give them; None takes a variable away."""

STREAMS: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


def _environment(rng: Rng) -> Command:
    """Run a valid command in a strange environment, or with closed streams."""
    good = ["--data", "DATA", "--runs", "RUNS"]
    commands = (
        ["doctor", "--data", "DATA"],
        ["list"],
        ["describe", "structure"],
        ["run", "prior", "--data", "DATA", "--runs", "runs"],
        ["run", "frozen.toml", "--fold", "0", "--data", "DATA", "--runs", "runs"],
        ["predict", "prior", "DATA/test.csv", *good, "--out", "out.csv"],
        ["submit", "prior", *good, "--out", "out.csv"],
        ["compare", *good],
        ["explore", "--data", "DATA", "--out", "page.html"],
        ["report", *good, "--out", "page.html"],
        ["ratings", "--data", "DATA"],
        ["simulate", "d", "--train", "3", "--test", "3"],
        ["--version"],
        ["run", "-h"],
    )
    files = {"mine.toml": _model_file("structure"), "frozen.toml": _model_file("frozen")}
    if rng.random() < 0.3:
        return Command(pick(rng, commands), files, closed=pick(rng, STREAMS), is_fresh=True)
    names = [pick(rng, list(ENVIRONMENT)) for _ in range(int(rng.integers(1, 3)))]
    environment = {name: pick(rng, ENVIRONMENT[name]) for name in names}
    return Command(pick(rng, commands), files, environment, is_fresh=True)


# --- Checks


def prepare(folder: Path, _seed: int, _indices: range) -> None:
    """Write simulated battles and a tiny encoder, and train one run."""
    from tests.support.architectures import write_checkpoint

    write_checkpoint(folder / "encoder", "bert")
    for arguments in (["simulate", "good", "--train", "30", "--test", "12"], ["run", "prior", "--data", "good"]):
        ended = run_command(arguments, folder)
        if ended.code:
            raise RuntimeError(ended.out + ended.err)


def check(shared: Path, folder: Path, seed: int, index: int) -> list[str]:
    """Return the faults that a strange command shows; [] if every law holds."""
    return check_command(command_of(seed, index), shared, folder)


def check_command(command: Command, shared: Path, folder: Path) -> list[str]:
    """Return the faults of one command."""
    places = {"DATA": shared / "good", "RUNS": shared / "runs" / "good", "ENCODER": shared / "encoder"}
    (folder / "file").write_bytes(b"a file\n")
    for name, content in command.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for word, place in places.items():
            content = content.replace(word.encode(), str(place).encode())
        (folder / name).write_bytes(content)
    arguments = [_filled(argument, places) for argument in command.arguments]
    if any("\0" in argument for argument in arguments):
        return []  # no system can pass it to a program
    ended = run_command(arguments, folder, command.environment, command.closed, SECONDS, command.is_fresh)
    faults = faults_of(ended, may_be_long=True)
    if "FORCE_COLOR" in command.environment:
        faults = [fault for fault in faults if "raw character '\\x1b'" not in fault]
    if 2 in command.closed:
        faults = [fault for fault in faults if "without a message" not in fault]
    if ended.code == 0:
        faults += _faults_of_success(command, ended, folder)
    return faults


def _filled(argument: str, places: dict[str, Path]) -> str:
    for word, place in places.items():
        argument = argument.replace(word, str(place))
    return argument


def _faults_of_success(command: Command, ended: Ended, folder: Path) -> list[str]:
    """Return what is wrong with a command that says it succeeded."""
    found = []
    if 1 not in command.closed and not (ended.out + ended.err).strip():
        found.append("exit code 0 without any output")
    out = folder / "out.csv"
    if "out.csv" in command.arguments and not out.is_file():
        found.append("exit code 0 without the file of --out")
    for file in (out, *folder.glob("runs/*/oof.csv")):
        if file.is_file():
            try:
                read_prediction_file(file.read_bytes())
            except UnreadableError as error:
                found.append(f"{file.name}: {error}")
    if command.given:
        found += _faults_of_value(*command.given, folder)
    return found


def _faults_of_value(key: str, text: str, folder: Path) -> list[str]:
    """Return a fault if the record of a run has another value for a hyperparameter than the one that was given."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        table = {"value": text}
    wanted = table["value"] if set(table) == {"value"} else text
    faults = []
    for file in folder.glob("runs/mine*/metrics.json"):
        used: Any = json.loads(file.read_text(encoding="utf-8"))["experiment"]["model"]
        for part in key.split("."):
            used = used[part]
        if not _is_same(wanted, used):
            faults.append(f"{key} is {str(used)[:60]!r} in the record, {str(wanted)[:60]!r} was given")
    return faults


def _is_same(wanted: Any, used: Any) -> bool:
    if isinstance(wanted, str) and isinstance(used, Sequence):
        return used in (wanted, [wanted], wanted.strip())
    if isinstance(wanted, int | float) and isinstance(used, int | float):
        return math.isclose(wanted, used, rel_tol=1e-12) and isinstance(wanted, bool) == isinstance(used, bool)
    return bool(wanted == used)


def describe(seed: int, index: int) -> str:
    """Return the command of a case in words."""
    command = command_of(seed, index)
    extra = " ".join(f"{name}={value!r}" for name, value in command.environment.items())
    closed = f" closed: {command.closed}" if command.closed else ""
    return f"{extra} {' '.join(ascii(argument)[1:-1][:80] for argument in command.arguments)}{closed}".strip()
