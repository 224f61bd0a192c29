"""Numbers of texts are computed once, in batches that neither an interruption nor the order of texts changes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pairrank.encoders.cached_batches import BATCH, Text, compute_alone, compute_cached
from pairrank.vector_cache import VectorCache, cache_key

TEXTS: list[Text] = [((f"why {i}" + " red" * (i * 7 % 17),),) for i in range(4 * BATCH + 5)]


class Batches:
    """A stand-in for an encoder whose numbers depend on the whole batch, as last digits in bf16 do."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        """The lengths of the rows of each computed batch."""

    def rows_of(self, texts: Sequence[Text]) -> list[np.ndarray]:
        return [np.frombuffer(turns[0].encode(), dtype=np.uint8) for (turns,) in texts]

    def compute(self, rows: list[np.ndarray]) -> np.ndarray:
        self.seen.append([len(row) for row in rows])
        batch = hashlib.sha256(b"|".join(row.tobytes() for row in rows)).digest()[0]
        return np.array([[row.sum(), batch] for row in rows], dtype=np.float64)

    def numbers(self, texts: Sequence[Text], cache: VectorCache | None = None) -> np.ndarray:
        keys = {text: cache_key(text) for text in dict.fromkeys(texts)}
        known = compute_cached(keys, cache, self.rows_of, self.compute)
        return np.stack([known[keys[text]] for text in texts])


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "vectors.sqlite")


def test_batches_are_cut_from_all_distinct_texts_by_length():
    batches = Batches()
    batches.numbers([*TEXTS, *TEXTS])
    assert [len(batch) for batch in batches.seen] == [BATCH] * 4 + [5]
    lengths = [length for batch in batches.seen for length in batch]
    assert lengths == sorted(lengths)


def test_numbers_do_not_depend_on_the_order_of_the_texts():
    order = np.random.default_rng(0).permutation(len(TEXTS))
    expected = Batches().numbers(TEXTS)
    assert len(np.unique(expected[:, 1])) > 1
    assert np.array_equal(Batches().numbers([TEXTS[i] for i in order]), expected[order])


@pytest.mark.parametrize("survivors", [0, 1, 3])
def test_an_interrupted_call_that_is_repeated_has_the_very_same_numbers(
    cache: VectorCache, monkeypatch: pytest.MonkeyPatch, survivors: int
):
    batches = 0

    def dying(self, vectors, put=VectorCache.put):
        nonlocal batches
        if batches == survivors:
            raise KeyboardInterrupt
        batches += 1
        put(self, vectors)

    with monkeypatch.context() as patched:
        patched.setattr(VectorCache, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            Batches().numbers(TEXTS, cache)
    assert cache.size()[0] == survivors * BATCH
    again = Batches()
    assert np.array_equal(again.numbers(TEXTS, cache), Batches().numbers(TEXTS))
    assert len(again.seen) == 5 - survivors


def test_a_batch_with_a_missing_number_is_computed_as_a_whole_and_known_numbers_stay(cache: VectorCache):
    expected = Batches().numbers(TEXTS)
    some = Batches().numbers(TEXTS[::9], cache)
    found = Batches().numbers(TEXTS, cache)
    assert np.array_equal(found[::9], some)
    assert np.array_equal(found[:, 0], expected[:, 0])
    rest = np.arange(len(TEXTS)) % 9 > 0
    assert np.array_equal(found[rest], expected[rest])
    assert not np.array_equal(some, expected[::9])


def test_cached_texts_are_neither_tokenised_nor_computed(cache: VectorCache, monkeypatch: pytest.MonkeyPatch):
    first = Batches().numbers(TEXTS, cache)
    batches = Batches()
    monkeypatch.setattr(batches, "rows_of", lambda _: pytest.fail("a text was tokenised"))
    assert np.array_equal(batches.numbers(TEXTS[::-1], cache)[::-1], first)
    assert batches.seen == []


def test_rows_that_are_computed_alone_are_the_same_in_parts_and_are_computed_once(
    cache: VectorCache, monkeypatch: pytest.MonkeyPatch
):
    keys = {text: cache_key(text) for text in TEXTS}
    seen: list[int] = []

    def compute(rows: Sequence[np.ndarray]) -> np.ndarray:
        seen.append(len(rows))
        if sum(seen) > 50:
            raise KeyboardInterrupt
        return np.array([[row.sum(), len(row)] for row in rows], dtype=np.float64)

    monkeypatch.setattr("pairrank.encoders.cached_batches.ALONE", 20)
    with pytest.raises(KeyboardInterrupt):
        compute_alone(keys, cache, Batches().rows_of, compute)
    assert seen == [20, 20, 20]  # the last part is lost
    seen[:] = [-200]
    found = compute_alone(keys, cache, Batches().rows_of, compute)
    assert seen == [-200, 20, 20, 20, 20, 13]
    rows = Batches().rows_of(TEXTS)
    expected = np.array([[row.sum(), len(row)] for row in rows], dtype=np.float32)
    assert np.array_equal(np.stack([found[keys[text]] for text in TEXTS]), expected)
