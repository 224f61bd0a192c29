"""Subsets of training battles: whole prompts, nested in their size, and independent of the order of the battles."""

import hashlib
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.subsets import training_subset

KEYS = [f"prompt {i // 2}" for i in range(60)] + ["popular"] * 7
SCORED = np.array([i % 5 == 0 for i in range(30) for _ in "ab"] + [False] * 7)


def expected(size: int, sample: int) -> set[str]:
    """The keys of a subset by the rule written out."""
    free = [key for key, scored in zip(KEYS, SCORED, strict=True) if not scored]
    order = sorted(
        set(free), key=lambda key: hashlib.sha256(f"training subset {sample}\0{key}".encode()).hexdigest()
    )
    taken: list[str] = []
    while order and sum(free.count(key) for key in taken) < size:
        taken.append(order.pop(0))
    return set(taken)


@given(size=st.integers(1, 70), sample=st.integers(0, 3))
def test_a_subset_has_whole_prompts_in_the_order_of_their_hash(size: int, sample: int):
    subset = training_subset(KEYS, SCORED, size, sample)
    assert {key for key, is_in in zip(KEYS, subset, strict=True) if is_in} == expected(size, sample)
    assert not (subset & SCORED).any()
    assert subset.sum() >= min(size, (~SCORED).sum())


def test_smaller_subsets_are_parts_of_larger_ones_and_samples_differ():
    for sample in range(3):
        subsets = [training_subset(KEYS, SCORED, size, sample) for size in range(1, 60)]
        for small, large in pairwise(subsets):
            assert (large | ~small).all()
    assert len({training_subset(KEYS, SCORED, 10, sample).tobytes() for sample in range(5)}) == 5


def test_the_order_of_the_battles_does_not_matter():
    order = np.random.default_rng(0).permutation(len(KEYS))
    shuffled = training_subset([KEYS[i] for i in order], SCORED[order], 20)
    assert np.array_equal(shuffled, training_subset(KEYS, SCORED, 20)[order])


def test_size_0_and_sizes_above_the_training_part_give_all_of_it():
    for size in (0, 55, 56, 1000):
        assert np.array_equal(training_subset(KEYS, SCORED, size), ~SCORED)
