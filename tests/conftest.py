"""Tiny real objects: five hand-made battles, predictions for them, and the real battles beside the repository."""

import os

# Before torch is loaded: tiny encoders on two threads spend most of their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A console that is made on import would keep the width that a test runner sets for its own workers.
os.environ.pop("COLUMNS", None)

from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, object_array
from pairrank.data.predictions import Predictions

ARENA = Path(__file__).parents[2] / "shared" / "data" / "arena"


@pytest.fixture
def battles() -> Battles:
    return Battles(
        id=object_array(["7", "3", "10", "x-1", "5"]),
        prompt=object_array([("Hi",), ("What is 2+2?", "Sure?"), ("  hi ",), ("",), ("Naïve 😀",)]),
        response_a=object_array([("Hello!",), ("4", "Yes."), ("",), ("I cannot.",), ("a",)]),
        response_b=object_array([("Hey",), ("Five, I think.", ""), ("Hi!",), ("I cannot.",), ("b b",)]),
        model_a=object_array(["m1", "m2", "", "m1", "m3"]),
        model_b=object_array(["m2", "m3", "", "m3", "m1"]),
        winner=np.array([0, 0, 1, 2, 1]),
        soft=np.array([[0.7, 0.1, 0.2], [1, 0, 0], [0.2, 0.5, 0.3], [0, 0, 1], [0.3, 0.6, 0.1]]),
    )


@pytest.fixture
def predictions(battles: Battles) -> Predictions:
    proba = np.array([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.25, 0.5, 0.25], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    return Predictions(battles.id, proba)


@pytest.fixture
def arena() -> Path:
    """The folder of real battles; tests that need it skip where it is absent."""
    if not ARENA.is_dir():
        pytest.skip("the real battles (../shared/data/arena beside the repository) are not here")
    return ARENA
