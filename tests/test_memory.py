"""Within `remembering` a thing is made once; outside it nothing is held on to."""

import gc
import weakref

from pairrank import memory
from pairrank.memory import remembered, remembering


class Made:
    def __init__(self, *of):
        self.of = of


@remembered
def make(*of, **more):
    return Made(*of, *more.items())


def test_the_same_object_comes_back_for_the_same_arguments_only():
    with remembering():
        assert make(1, "a") is make(1, "a")
        assert make(1, "a") is not make(1, "b")
        assert make(1, b=2, c=3) is make(1, c=3, b=2)
        assert make(1, b=2).of == (1, ("b", 2))


def test_two_functions_do_not_share():
    other = remembered(lambda x: ("other", x))
    with remembering():
        assert other(1) == ("other", 1)
        assert make(1).of == (1,)


def test_outside_nothing_is_kept():
    assert make(1) is not make(1)
    with remembering():
        made = weakref.ref(make(1))
        assert made() is not None
    gc.collect()
    assert made() is None


def test_an_inner_block_lets_nothing_go():
    with remembering():
        made = make(1)
        with remembering():
            assert make(1) is made
        assert make(1) is made


def test_the_longest_unused_is_dropped_first(monkeypatch):
    monkeypatch.setattr(memory, "MOST", 2)
    with remembering():
        first, second = make(1), make(2)
        assert make(1) is first
        make(3)
        assert make(1) is first
        assert make(2) is not second
