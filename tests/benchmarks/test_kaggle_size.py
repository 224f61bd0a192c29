"""Battles made for measurements at Kaggle's size have real lengths, repeated prompts and equal numbers of turns."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.folds import prompt_keys
from pairrank.data.simulation import simulate

PROGRAM = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kaggle_size.py"))


def test_recombined_battles_have_the_lengths_and_the_repeated_prompts_of_real_ones():
    source = simulate(400)[0]
    made = PROGRAM["recombine"](source, 4_000, 0, "r")
    assert len(set(made.id)) == 4_000

    def lengths(battles):
        return np.array([sum(map(len, turns)) for turns in battles.response_a])

    assert lengths(made).mean() == pytest.approx(lengths(source).mean(), rel=0.03)
    assert all(
        len(prompt) == len(a) == len(b)
        for prompt, a, b in zip(made.prompt, made.response_a, made.response_b, strict=True)
    )
    # Halves of 400 prompts give some equal prompts by chance as well.
    distinct = len(set(prompt_keys(made)))
    assert distinct < 4_000 * (1 - PROGRAM["SHARE_REPEATED"] + 0.02)
    assert set(made.winner) == {0, 1, 2}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({}, ["run structure: not measured", "run ensemble-fast", "explore", "report"]),
        ({"explore": {"seconds": 61.0, "peak_mb": 5_000}}, ["explore: 61.0 s", "explore: 5000 MB"]),
    ],
)
def test_a_step_that_is_slow_large_or_missing_is_a_complaint(steps, expected):
    found = PROGRAM["complaints"](steps)
    assert all(any(line.startswith(start) for line in found) for start in expected)
    within = {name: {"seconds": bound, "peak_mb": 10} for name, bound in PROGRAM["BOUNDS"].items()}
    assert PROGRAM["complaints"](within) == []


def test_the_exponent_of_a_step_is_that_of_its_power_of_the_number_of_battles():
    def measured(battles):
        seconds = {"linear": 3.0 * battles, "quadratic": battles**2, "constant": 5.0}
        return {"battles": battles, "steps": {name: {"cpu_seconds": each} for name, each in seconds.items()}}

    small = measured(1_000)
    del small["steps"]["constant"]
    assert PROGRAM["exponents"](small, measured(7_000)) == {"linear": 1.0, "quadratic": 2.0}
