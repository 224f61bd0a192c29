"""Hand-made battles: of few words, of models with habits, and tiny ones in folders as users have them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pairrank.data.battles import Battles, object_array
from pairrank.data.extra import Extra
from pairrank.data.writing import write_battles

# --- Tiny battles in a folder


def tiny_battles(n: int = 40, first: int = 0, word: str = "train", labelled: bool = True) -> Battles:
    """n battles; each prompt is asked twice, with the same winner, so that a leak pays."""
    numbers = range(first, first + n)
    winner = np.array([(i // 2) % 3 for i in numbers], dtype=np.int64)
    models_ = {f"model_{side}": object_array([f"m{i % 3}{side}" for i in numbers]) for side in "ab"}
    return Battles(
        id=object_array([str(1000 + i) for i in numbers]),
        prompt=object_array([(f"A {word} question, number {i // 2}?",) for i in numbers]),
        response_a=object_array([("yes " * (1 + i % 5),) for i in numbers]),
        response_b=object_array([("no, " * (1 + i % 7),) for i in numbers]),
        **(models_ | {"winner": winner} if labelled else {}),
    )


def write_folder(folder: Path, n: int = 40, tests: int = 6, first: int = 0) -> Path:
    """A data folder of tiny battles."""
    folder.mkdir(parents=True, exist_ok=True)
    write_battles(tiny_battles(n, first), folder / "train.csv")
    if tests:
        write_battles(tiny_battles(tests, first=5000, word="test", labelled=False), folder / "test.csv")
    return folder


# --- Battles of a few words, which a tiny encoder can learn

WORDS = (  # noqa: SIM905  # a list of single words would take a page
    "prompt response a b yes no good bad short long apple pear river stone why how what is the of and red blue one "
    "two three four five six seven eight nine ten left right up down tree leaf bird fish cat dog sun moon rain snow"
).split()


def plain_battles(*rows: tuple[str, str, str], winner: list[int] | None = None) -> Battles:
    """Battles of one turn each, from (prompt, answer A, answer B)."""
    return conversations(*(tuple((text,) for text in row) for row in rows), winner=winner)


def conversations(*rows, winner: list[int] | None = None) -> Battles:
    """Battles from (turns of the prompt, turns of A, turns of B)."""
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    prompt, a, b = (object_array(list(column)) for column in columns)
    return Battles(
        id=object_array([f"b{i}" for i in range(len(rows))]),
        prompt=prompt,
        response_a=a,
        response_b=b,
        winner=None if winner is None else np.array(winner, dtype=np.int64),
    )


def arena_of_words(n: int, seed: int = 0) -> Battles:
    """Battles in which "good" beats "bad" and two alike tie; prompts differ and lengths vary."""
    rng = np.random.default_rng(seed)
    rows, winners = [], []
    for i in range(n):
        a, b = rng.choice(["good", "bad"], 2)
        prompt, more_a, more_b = (" ".join(rng.choice(WORDS, rng.integers(0, 8))) for _ in range(3))
        rows.append((f"why {i} {prompt}", f"{a} {more_a}", f"{b} {more_b}"))
        winners.append(2 if a == b else int(a == "bad"))
    return plain_battles(*rows, winner=winners)


# --- Battles of models with habits

FILLERS = "the a river mountain quietly remarkable of time people code and then goes on".split()  # noqa: SIM905
HABITS = {"shouter": "VERY GOOD", "polite": "Certainly! Here", "lister": "- one\n- two", "quiet": "very good"}
"""What each model says in every answer; two of them differ in case alone."""


def chatter(n: int = 60, seed: int = 0, habits: dict[str, str] = HABITS) -> Battles:
    """Battles of models that talk alike but for their habits."""
    rng = np.random.default_rng(seed)
    models = [rng.choice(list(habits), 2) for _ in range(n)]

    def answers(side: int) -> list[tuple[str]]:
        return [(f"{habits[both[side]]} {' '.join(rng.choice(FILLERS, rng.integers(5, 20)))}.",) for both in models]

    return Battles(
        id=object_array([str(i) for i in range(n)]),
        prompt=object_array([(f"Question {i}?",) for i in range(n)]),
        response_a=object_array(answers(0)),
        response_b=object_array(answers(1)),
        model_a=object_array([str(both[0]) for both in models]),
        model_b=object_array([str(both[1]) for both in models]),
        winner=rng.integers(0, 3, n),
    )


def extra_source(folder: Path, battles: Battles, name: str = "more", weight: float = 0.5) -> Extra:
    """A source of extra battles, written to a file."""
    write_battles(battles, folder / f"{name}.csv")
    return Extra(str(folder / f"{name}.csv"), weight)


def disguised(battles: Battles) -> Battles:
    """The same battles with other ids, and with prompts in capitals and on several lines."""
    prompts = [(f"  {prompt[0].upper().replace(' ', chr(10))} ",) for prompt in battles.prompt]
    return replace(battles, prompt=object_array(prompts), id=object_array([f"x{name}" for name in battles.id]))


STRONG = {"shouter": 1.5, "polite": 0.5, "lister": -0.5, "quiet": -1.5}
"""Log strengths of the models in `HABITS`."""


def battles_by_strength(n: int = 120, seed: int = 0) -> Battles:
    """Battles that the stronger model tends to win, a quarter of them without names."""
    rng = np.random.default_rng(seed)
    battles = chatter(n, seed)
    gap = np.array([STRONG[a] - STRONG[b] for a, b in zip(battles.model_a, battles.model_b, strict=True)])
    winner = np.where(rng.random(n) < 0.2, 2, (rng.random(n) > 1 / (1 + np.exp(-gap))).astype(np.int64))
    nameless = rng.random(n) < 0.25
    names = {f"model_{s}": np.where(nameless, "", getattr(battles, f"model_{s}")) for s in "ab"}
    return replace(battles, winner=winner, **names)
