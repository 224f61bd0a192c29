"""A set of strings is the oracle of what stood before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.seen_ids import Repeats


@given(st.lists(st.lists(st.sampled_from(["", "a", "b", "1", "1.0", "é", "\ud800", *map(str, range(40))]))))
def test_a_name_stood_before_exactly_if_it_did(calls: list[list[str]]):
    repeats, passed = Repeats(), set[str]()
    for names in calls:
        expected = []
        for name in names:
            expected.append(name in passed)
            passed.add(name)
        assert repeats.stood_before(names).tolist() == expected


@pytest.mark.parametrize("block", [1, 7, 2_000])
def test_ten_thousand_names_in_blocks_take_eight_bytes_each(block: int):
    repeats, names = Repeats(), [f"battle-{i}" for i in range(10_000)]
    for start in range(0, 10_000, block):
        assert not repeats.stood_before(names[start : start + block]).any()
    assert repeats.stood_before(names[::-1]).all()
    kept = sum(run.nbytes for run in repeats._runs)
    assert kept == 80_000
    assert len(repeats._runs) < 15
    assert all(np.array_equal(run, np.sort(run)) for run in repeats._runs)
