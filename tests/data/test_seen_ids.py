"""A set of strings is the oracle of what stood before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.seen_ids import SeenIds


@given(st.lists(st.lists(st.sampled_from(["", "a", "b", "1", "1.0", "é", "\ud800", *map(str, range(40))]))))
def test_a_name_stood_before_exactly_if_it_did(calls: list[list[str]]):
    repeats, passed = SeenIds(), set[str]()
    for names in calls:
        expected = []
        for name in names:
            expected.append(name in passed)
            passed.add(name)
        assert repeats.mark(names).tolist() == expected


@pytest.mark.parametrize("block", [1, 7, 2_000])
def test_ten_thousand_names_in_blocks_take_eight_bytes_each(block: int):
    repeats, names = SeenIds(), [f"battle-{i}" for i in range(10_000)]
    for start in range(0, 10_000, block):
        assert not repeats.mark(names[start : start + block]).any()
    assert repeats.mark(names[::-1]).all()
    kept = sum(run.nbytes for run in repeats._runs)
    assert kept == 80_000
    assert len(repeats._runs) < 15
    assert all(np.array_equal(run, np.sort(run)) for run in repeats._runs)
