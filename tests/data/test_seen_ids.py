"""SeenIds is compared with a set of strings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.seen_ids import SeenIds


@given(st.lists(st.lists(st.sampled_from(["", "a", "b", "1", "1.0", "é", "\ud800", *map(str, range(40))]))))
def test_mark_finds_exactly_the_ids_that_occurred_before(calls: list[list[str]]):
    seen, passed = SeenIds(), set[str]()
    for ids in calls:
        expected = []
        for one in ids:
            expected.append(one in passed)
            passed.add(one)
        assert seen.mark(ids).tolist() == expected


@pytest.mark.parametrize("block", [1, 7, 2_000])
def test_ten_thousand_ids_in_blocks_take_eight_bytes_each(block: int):
    seen, ids = SeenIds(), [f"battle-{i}" for i in range(10_000)]
    for start in range(0, 10_000, block):
        assert not seen.mark(ids[start : start + block]).any()
    assert seen.mark(ids[::-1]).all()
    kept = sum(run.nbytes for run in seen._runs)
    assert kept == 80_000
    assert len(seen._runs) < 15
    assert all(np.array_equal(run, np.sort(run)) for run in seen._runs)
