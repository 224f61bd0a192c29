"""Simulated votes on answers whose scores are known."""

from dataclasses import replace

import numpy as np

from pairrank.data.battles import Battles, object_array
from tests.support.battles import tiny_battles

TEMPERATURE, TIE = 2.5, -0.4


def outcome_proba(scores: np.ndarray) -> np.ndarray:
    """(n, 3) probabilities of A, B and tie for scores (n, 2), by Davidson's model."""
    margin = (scores[:, 0] - scores[:, 1]) / (2 * TEMPERATURE)
    weights = np.exp(np.stack([margin, -margin, np.full(len(margin), TIE)], axis=1))
    return weights / weights.sum(axis=1, keepdims=True)


def voted_on(n: int, seed: int = 0) -> tuple[Battles, np.ndarray]:
    """Battles whose votes follow Davidson's model with known scores, and those scores."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 2)) * 4
    winner = np.array([rng.choice(3, p=row) for row in outcome_proba(scores)])
    battles = tiny_battles(n)
    prompts = object_array([(f"prompt {i}",) for i in range(n)])
    return replace(battles, prompt=prompts, winner=winner), scores
