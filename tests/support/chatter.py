"""Battles of models with habits: what they write is alike but for a few words."""

import numpy as np

from pairrank.data.battles import Battles, object_array

WORDS = "the a river mountain quietly remarkable of time people code and then goes on".split()  # noqa: SIM905
HABITS = {"shouter": "VERY GOOD", "polite": "Certainly! Here", "lister": "- one\n- two", "quiet": "very good"}
"""What each model says in every answer; two of them differ in case alone."""


def chatter(n: int = 60, seed: int = 0, habits: dict[str, str] = HABITS) -> Battles:
    """Battles of models that talk alike but for their habits."""
    rng = np.random.default_rng(seed)
    models = [rng.choice(list(habits), 2) for _ in range(n)]

    def answers(side: int) -> list[tuple[str]]:
        return [(f"{habits[both[side]]} {' '.join(rng.choice(WORDS, rng.integers(5, 20)))}.",) for both in models]

    return Battles(
        id=object_array([str(i) for i in range(n)]),
        prompt=object_array([(f"Question {i}?",) for i in range(n)]),
        response_a=object_array(answers(0)),
        response_b=object_array(answers(1)),
        model_a=object_array([str(both[0]) for both in models]),
        model_b=object_array([str(both[1]) for both in models]),
        winner=rng.integers(0, 3, n),
    )
