"""An arena whose true probabilities are known, so the best possible score on its battles is known too.

Invented models answer invented prompts in the words of `simulated_words.toml`. A model's hidden skill and
habits decide how often it refuses, strays, errs or rambles; the quality of an answer depends only on what its
text shows; and votes follow Bradley-Terry with ties (Davidson, "On extending the Bradley-Terry model to
accommodate ties in paired comparison experiments", JASA 65, 1970). Whoever reads perfectly reaches the log
loss of the true probabilities, and in expectation nothing goes below it.
"""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, Winner, object_array
from pairrank.data.predictions import COLUMNS, Predictions, prediction_lines
from pairrank.data.simulated_text import DRAWS, MAX_TURNS, Row, conversation, request, words
from pairrank.data.turns import Turns
from pairrank.files import atomic_path

TIES = {"chat": 8.0, "delicate": 4.0, "list": 1.0, "short": 1.0, "explain": 1.0}
"""Davidson's nu: equal answers tie with probability nu / (2 + nu), so oftener where little is at stake."""

FIRST_ID = 10_000_019
"""Battle i has this id plus i: a number of eight digits, as in the competition, never mistaken for a row."""

BLOCK = 20_000
"""Battles held in memory at a time while an arena is written."""


def simulate(n: int, seed: int = 0, start: int = 0) -> tuple[Battles, Predictions]:
    """Battles number `start` to `start + n - 1` of the arena `seed`, and the probabilities behind them.

    Battle i is the same whatever n and start are, so an arena of any size can be made in blocks.
    """
    made = [_battle(row) for row in uniforms(n, seed, start).tolist()]
    ids = object_array([str(FIRST_ID + i) for i in range(start, start + n)])
    columns: dict[str, Any] = {name: object_array([row[name] for row in made]) for name in (*TEXTS, *MODELS)}
    winner = np.array([battle["winner"] for battle in made], dtype=np.int64)
    proba = np.array([battle["proba"] for battle in made], dtype=np.float64).reshape(n, 3)
    return Battles(id=ids, winner=winner, **columns), Predictions(ids, proba)


def write_arena(folder: str | Path, train: int = 600, test: int = 150, seed: int = 0) -> None:
    """Write train.csv and test.csv as the competition has them, and the truth of both as prediction files.

    The test battles follow the training battles in the same arena. Memory does not grow with their number.
    """
    _write(Path(folder), "train", range(train), seed, ("id", *MODELS, *TEXTS, *WINNERS))
    _write(Path(folder), "test", range(train, train + test), seed, ("id", *TEXTS))


def uniforms(n: int, seed: int, start: int) -> npt.NDArray[np.float64]:
    """(n, columns) numbers in [0, 1), of which row i depends on seed and start + i alone.

    Philox is a counter: each step gives four numbers and any step can be reached at once. Its raw bits are
    used, because numpy promises never to change those of a seed.
    """
    columns = (1 + 2 * MAX_TURNS) * DRAWS
    bits = np.random.Philox(key=seed)
    bits.advance(start * columns // 4)
    raw = bits.random_raw(n * columns).reshape(n, columns)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def davidson(quality_a: float, quality_b: float, nu: float) -> tuple[float, float, float]:
    """Probabilities that A wins, B wins, neither, from log strengths; p_tie² / (p_a p_b) = nu²."""
    half = (quality_a - quality_b) / 2
    a, b = math.exp(half), math.exp(-half)
    total = a + b + nu
    return a / total, b / total, nu / total


def _battle(row: Row) -> dict[str, Any]:
    """One battle and its probabilities, from its own random numbers."""
    draws = [row[i : i + DRAWS] for i in range(0, len(row), DRAWS)]
    u = iter(draws[0])
    speakers, vote = words().speakers, next(u)
    a = int(next(u) * len(speakers))
    b = (a + 1 + int(next(u) * (len(speakers) - 1))) % len(speakers)
    task = request(u)
    response_a, quality_a = conversation(task, speakers[a], draws[1 : 1 + MAX_TURNS])
    response_b, quality_b = conversation(task, speakers[b], draws[1 + MAX_TURNS :])
    proba = davidson(quality_a, quality_b, TIES[task.kind])
    return {
        "prompt": task.turns,
        "response_a": response_a,
        "response_b": response_b,
        "model_a": speakers[a].name,
        "model_b": speakers[b].name,
        "winner": Winner.A if vote < proba[0] else Winner.B if vote < proba[0] + proba[1] else Winner.TIE,
        "proba": proba,
    }


def _write(folder: Path, part: str, rows: range, seed: int, columns: tuple[str, ...]) -> None:
    """Write one file of battles and its truth, block by block."""
    options: dict[str, Any] = {"mode": "w", "encoding": "utf-8", "newline": ""}
    with (
        atomic_path(folder / f"{part}.csv") as temporary,
        atomic_path(folder / f"{part}-truth.csv") as truth_temporary,
        temporary.open(**options) as file,
        truth_temporary.open(**options) as truth_file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        truth_file.write(",".join(COLUMNS) + "\n")
        for start in range(rows.start, rows.stop, BLOCK):
            battles, truth = simulate(min(BLOCK, rows.stop - start), seed, start)
            cells: dict[str, Any] = {name: getattr(battles, name) for name in ("id", *MODELS)}
            cells |= {name: [_cell(turns) for turns in getattr(battles, name)] for name in TEXTS}
            cells |= {name: (battles.labels == i).astype(int) for i, name in enumerate(WINNERS)}
            writer.writerows(zip(*(cells[name] for name in columns), strict=True))
            truth_file.writelines(prediction_lines(truth))


def _cell(turns: Turns) -> str:
    """A JSON list with ASCII escapes, in which an empty turn of a conversation is null, as in real files."""
    return json.dumps([turn or (None if len(turns) > 1 else "") for turn in turns])
