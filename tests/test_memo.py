"""Within `memo_scope` a result is computed once; outside it nothing is kept."""

import gc
import weakref
from dataclasses import dataclass

import numpy as np
import psutil
from scipy.sparse import csr_matrix

from pairrank import memo
from pairrank.memo import memo_scope, memoise


class Made:
    def __init__(self, *of):
        self.of = of


@memoise
def make(*of, **more):
    return Made(*of, *more.items())


def test_memoise_returns_the_same_object_for_equal_arguments_only():
    with memo_scope():
        assert make(1, "a") is make(1, "a")
        assert make(1, "a") is not make(1, "b")
        assert make(1, b=2, c=3) is make(1, c=3, b=2)
        assert make(1, b=2).of == (1, ("b", 2))


def test_two_memoised_functions_do_not_share_results():
    other = memoise(lambda x: ("other", x))
    with memo_scope():
        assert other(1) == ("other", 1)
        assert make(1).of == (1,)


def test_nothing_is_kept_outside_memo_scope():
    assert make(1) is not make(1)
    with memo_scope():
        made = weakref.ref(make(1))
        assert made() is not None
    gc.collect()
    assert made() is None


def test_an_inner_memo_scope_releases_nothing():
    with memo_scope():
        made = make(1)
        with memo_scope():
            assert make(1) is made
        assert make(1) is made


def test_the_least_recently_used_result_is_dropped_first(monkeypatch):
    two = memo.bytes_of(make(1)) + memo.bytes_of(make(2))
    monkeypatch.setattr(memo, "most_bytes", lambda: two)
    with memo_scope():
        first, second = make(1), make(2)
        assert make(1) is first
        make(3)
        assert make(1) is first
        assert make(2) is not second


def test_a_result_larger_than_the_bound_is_not_kept(monkeypatch):
    large = memoise(lambda n: np.zeros(n))
    monkeypatch.setattr(memo, "most_bytes", lambda: 10_000)
    with memo_scope():
        small = large(100)
        assert len(large(2_000)) == 2_000
        assert large(2_000) is not large(2_000)
        # The small result was dropped to make room; the next one is kept.
        assert large(100) is not small
        assert large(100) is large(100)


@dataclass
class Holder:
    numbers: np.ndarray
    names: dict[str, str]


def test_bytes_of_counts_arrays_texts_and_their_containers():
    matrix = csr_matrix(np.eye(1_000))
    assert memo.bytes_of(np.zeros((1_000, 50))) == 400_000
    parts = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert parts <= memo.bytes_of(matrix) < parts + 3_000
    texts = ["x" * 10_000, "y" * 10_000]
    assert 20_000 < memo.bytes_of((texts, np.zeros(10), texts)) < 21_000
    holder = Holder(np.zeros(1_000), {"a": "z" * 5_000})
    assert 13_000 < memo.bytes_of(holder) < 15_000
    names = np.array(["w" * 3_000, None], dtype=object)
    assert 3_000 < memo.bytes_of(names) < 3_500


def test_most_bytes_is_a_quarter_of_the_memory():
    assert memo.most_bytes() == psutil.virtual_memory().total // 4
