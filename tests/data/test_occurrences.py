"""Names in a stream are counted as a dictionary counts them, in little memory."""

import tracemalloc
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pairrank.data.occurrences import Occurrences


@given(st.lists(st.text(max_size=2)))
def test_names_are_counted_as_a_dictionary_counts_them(names: list[str]):
    counted, plain = Occurrences(), Counter[str]()
    for name in names:
        plain[name] += 1
        assert counted.add(name) == plain[name]


def test_more_names_than_places_are_counted():
    counted = Occurrences()
    assert [counted.add(str(i)) for i in range(3_000)] == [1] * 3_000
    assert [counted.add(str(i)) for i in range(3_000)] == [2] * 3_000


def test_long_names_take_no_more_memory_than_their_hashes():
    counted = Occurrences()
    tracemalloc.start()
    for i in range(5_000):
        counted.add(f"{i}" * 500)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 5_000 * 48 + 10_000
