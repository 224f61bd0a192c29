"""Simulated battles have known true probabilities, so the lowest possible log loss on them is known as well.

Invented models answer invented prompts with the sentences of `simulated_words.toml`. The skill and the habits of a
model decide how often it refuses, answers another question, errs or adds empty sentences. The quality of an answer
depends only on its text, and votes follow the Bradley-Terry model with ties (Davidson, "On extending the
Bradley-Terry model to accommodate ties in paired comparison experiments", JASA 65, 1970). In expectation, no model
has a lower log loss than the true probabilities.
"""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from pairrank.atomic import atomic_path
from pairrank.data.battles import MODELS, TEXTS, WINNERS, Battles, Winner, object_array
from pairrank.data.predictions import COLUMNS, Predictions, prediction_lines
from pairrank.data.probabilities import FloatArray
from pairrank.data.simulated_questions import Question, answer, question
from pairrank.data.simulated_text import DRAWS, MAX_TURNS, Row, Speaker, Task, conversation, request, words
from pairrank.data.turns import Turns
from pairrank.errors import UserError

TIES = {"chat": 8.0, "delicate": 4.0, "list": 1.0, "short": 1.0, "explain": 1.0}
"""Davidson's nu per kind of request: equally good answers tie with probability nu / (2 + nu)."""

QUESTION_TIES = 2.5
"""Davidson's nu of the questions that `content` adds."""

FIRST_ID = 10_000_019
"""The id of battle 0; battle i has this number plus i. It has eight digits, unlike a row number."""

BLOCK = 20_000
"""Number of battles in memory at a time while an arena is written."""


def simulate(n: int, seed: int = 0, start: int = 0, content: float = 0.0) -> tuple[Battles, Predictions]:
    """Return battles `start` to `start + n - 1` of the arena with the given seed, and their true probabilities.

    `content` is the probability, from 0 to 1, that a battle is about a question of `simulated_questions.py`: its
    answers differ in what they say rather than in length and form. The other battles are those of `content=0`.
    Battle i does not depend on `n` and `start`, so an arena of any size can be created in blocks. Raises UserError
    if `content` is outside this range.
    """
    check_content(content)
    rows = [_battle(numbers, content) for numbers in uniforms(n, seed, start).tolist()]
    ids = object_array([str(FIRST_ID + i) for i in range(start, start + n)])
    columns: dict[str, Any] = {name: object_array([row[name] for row in rows]) for name in (*TEXTS, *MODELS)}
    winner = np.array([row["winner"] for row in rows], dtype=np.int64)
    proba = np.array([row["proba"] for row in rows], dtype=np.float64).reshape(n, 3)
    return Battles(id=ids, winner=winner, **columns), Predictions(ids, proba)


def check_content(content: float) -> None:
    """Raise UserError unless `content` is a number from 0 to 1."""
    if not 0 <= content <= 1:
        raise UserError(f"content = {content}: expected a share from 0 (no questions) to 1 (only questions).")


def write_arena(folder: str | Path, train: int = 600, test: int = 150, seed: int = 0, content: float = 0.0) -> None:
    """Write train.csv and test.csv in the competition's format, and their true probabilities as prediction files.

    `train` and `test` are numbers of battles. The test battles follow the training battles in the same arena.
    `content` is that of `simulate`. Memory does not grow with the number of battles.
    """
    check_content(content)
    _write(Path(folder), "train", range(train), seed, content, ("id", *MODELS, *TEXTS, *WINNERS))
    _write(Path(folder), "test", range(train, train + test), seed, content, ("id", *TEXTS))


def uniforms(n: int, seed: int, start: int) -> FloatArray:
    """Return (n, columns) random numbers in [0, 1), whose row i depends on `seed` and `start + i` only.

    The Philox generator is based on a counter: each step yields four numbers, and any step is reached directly. Its
    raw bits are used, because numpy guarantees that the bits of a seed never change.
    """
    columns = (1 + 2 * MAX_TURNS) * DRAWS
    bits = np.random.Philox(key=seed)
    bits.advance(start * columns // 4)
    raw = bits.random_raw(n * columns).reshape(n, columns)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def davidson(quality_a: float, quality_b: float, nu: float) -> tuple[float, float, float]:
    """Return p_a, p_b and p_tie from two log strengths: p_a / p_b = exp(a - b) and p_tie² = nu² p_a p_b."""
    half = (quality_a - quality_b) / 2
    a, b = math.exp(half), math.exp(-half)
    total = a + b + nu
    return a / total, b / total, nu / total


def _battle(row: Row, content: float) -> dict[str, Any]:
    """Return the columns of one battle and its probabilities, from its own random numbers."""
    draws = [row[i : i + DRAWS] for i in range(0, len(row), DRAWS)]
    u = iter(draws[0])
    speakers, vote = words().speakers, next(u)
    a = int(next(u) * len(speakers))
    b = (a + 1 + int(next(u) * (len(speakers) - 1))) % len(speakers)
    # A request uses at most the first 12 numbers, so the last one is free to choose what kind of battle this is.
    task = question(u) if draws[0][-1] < content else request(u)
    response_a, quality_a = _response(task, speakers[a], draws[1 : 1 + MAX_TURNS])
    response_b, quality_b = _response(task, speakers[b], draws[1 + MAX_TURNS :])
    proba = davidson(quality_a, quality_b, QUESTION_TIES if isinstance(task, Question) else TIES[task.kind])
    return {
        "prompt": task.turns,
        "response_a": response_a,
        "response_b": response_b,
        "model_a": speakers[a].name,
        "model_b": speakers[b].name,
        "winner": Winner.A if vote < proba[0] else Winner.B if vote < proba[0] + proba[1] else Winner.TIE,
        "proba": proba,
    }


def _response(task: Task | Question, speaker: Speaker, draws: list[Row]) -> tuple[Turns, float]:
    """Return one side's answers to all turns, and their quality."""
    if isinstance(task, Task):
        return conversation(task, speaker, draws)
    text, quality = answer(task, speaker, iter(draws[0]))
    return (text,), quality


def _write(folder: Path, part: str, rows: range, seed: int, content: float, columns: tuple[str, ...]) -> None:
    """Write one battle file and its true probabilities, block by block."""
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
            battles, truth = simulate(min(BLOCK, rows.stop - start), seed, start, content)
            cells: dict[str, Any] = {name: getattr(battles, name) for name in ("id", *MODELS)}
            cells |= {name: [_cell(turns) for turns in getattr(battles, name)] for name in TEXTS}
            cells |= {name: (battles.labels == i).astype(int) for i, name in enumerate(WINNERS)}
            writer.writerows(zip(*(cells[name] for name in columns), strict=True))
            truth_file.writelines(prediction_lines(truth))


def _cell(turns: Turns) -> str:
    """Return a cell as real files have it: ASCII escapes, and null for an empty turn of several."""
    return json.dumps([turn or (None if len(turns) > 1 else "") for turn in turns])
