"""Within `memo_scope` a thing is made once; outside it nothing is held on to."""

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


def test_the_same_object_comes_back_for_the_same_arguments_only():
    with memo_scope():
        assert make(1, "a") is make(1, "a")
        assert make(1, "a") is not make(1, "b")
        assert make(1, b=2, c=3) is make(1, c=3, b=2)
        assert make(1, b=2).of == (1, ("b", 2))


def test_two_functions_do_not_share():
    other = memoise(lambda x: ("other", x))
    with memo_scope():
        assert other(1) == ("other", 1)
        assert make(1).of == (1,)


def test_outside_nothing_is_kept():
    assert make(1) is not make(1)
    with memo_scope():
        made = weakref.ref(make(1))
        assert made() is not None
    gc.collect()
    assert made() is None


def test_an_inner_block_lets_nothing_go():
    with memo_scope():
        made = make(1)
        with memo_scope():
            assert make(1) is made
        assert make(1) is made


def test_the_longest_unused_is_dropped_first(monkeypatch):
    two = memo.bytes_of(make(1)) + memo.bytes_of(make(2))
    monkeypatch.setattr(memo, "most_bytes", lambda: two)
    with memo_scope():
        first, second = make(1), make(2)
        assert make(1) is first
        make(3)
        assert make(1) is first
        assert make(2) is not second


def test_what_is_larger_than_the_bound_is_made_and_not_kept(monkeypatch):
    large = memoise(lambda n: np.zeros(n))
    monkeypatch.setattr(memo, "most_bytes", lambda: 10_000)
    with memo_scope():
        small = large(100)
        assert len(large(2_000)) == 2_000
        assert large(2_000) is not large(2_000)
        # Room was made for it in vain; the next small one is kept again.
        assert large(100) is not small
        assert large(100) is large(100)


@dataclass
class Holder:
    numbers: np.ndarray
    names: dict[str, str]


def test_bytes_are_those_of_arrays_texts_and_all_that_holds_them():
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


def test_a_quarter_of_the_memory_may_be_taken():
    assert memo.most_bytes() == psutil.virtual_memory().total // 4
