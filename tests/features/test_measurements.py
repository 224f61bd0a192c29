"""Measurements are the same numbers wherever they come from: memory, disk, this process or others."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from pairrank.data.battles import Battles, concatenate
from pairrank.data.simulation import simulate
from pairrank.features import measurements
from pairrank.features.groups import GROUPS, find_group
from pairrank.models.base import build
from pairrank.runs.fold_models import FoldModels
from pairrank.vector_cache import VectorCache
from tests.support.battles import tiny_battles

ALL = tuple(map(find_group, GROUPS))


@pytest.fixture(scope="module")
def battles() -> Battles:
    return simulate(24)[0]


@pytest.fixture(scope="module")
def expected(battles: Battles) -> np.ndarray:
    """The measurements of each battle alone, without any cache."""
    rows = []
    for texts in zip(battles.prompt, battles.response_a, battles.response_b, strict=True):
        a, b, shared = measurements.measure_one(texts, ALL)
        rows.append([*a.values(), *b.values(), *shared.values()])
    return np.array(rows)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone; every table is large."""
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path))
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)
    monkeypatch.setattr(measurements, "LARGE", 1)
    monkeypatch.setattr(measurements, "BLOCK", 5)
    measurements.clear()
    return tmp_path / "vectors.sqlite"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that counts the battles measured since its last call."""
    counted: list[object] = []
    original = measurements.measure_one
    monkeypatch.setattr(measurements, "measure_one", lambda *args: counted.append(args) or original(*args))

    def count() -> int:
        n = len(counted)
        counted.clear()
        return n

    return count


def test_memory_and_disk_return_the_measured_numbers_bit_for_bit(battles, expected, measured):
    assert (measurements.measure(battles, ALL) == expected).all()
    assert measured() == 24
    assert (measurements.measure(battles, ALL) == expected).all()  # from memory
    measurements.clear()
    again = measurements.measure(battles.take(slice(None, None, -1)), ALL)  # from disk
    assert again.tobytes() == expected[::-1].tobytes()
    assert measured() == 0


def test_several_processes_return_the_measured_numbers_bit_for_bit(battles, expected, measured, monkeypatch):
    monkeypatch.setattr(measurements, "PARALLEL", 24)
    monkeypatch.setattr(measurements, "usable_threads", lambda: 2)
    assert measurements.measure(battles, ALL).tobytes() == expected.tobytes()
    assert measured() == 0  # none in this process
    measurements.clear()
    assert measurements.measure(battles, ALL).tobytes() == expected.tobytes()  # all of them are on disk


def test_this_process_goes_on_if_another_is_killed(battles, expected, monkeypatch, log_lines):
    class Killed:
        """Returns the first block, and then finds that a process has ended."""

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __call__(self, tasks):
            function, arguments, _ = next(iter(tasks))
            yield function(*arguments)
            raise BrokenProcessPool

    monkeypatch.setattr("joblib.Parallel", Killed)
    monkeypatch.setattr(measurements, "PARALLEL", 24)
    monkeypatch.setattr(measurements, "usable_threads", lambda: 2)
    assert measurements.measure(battles, ALL).tobytes() == expected.tobytes()
    assert any("was killed" in line for line in log_lines)


def test_texts_that_join_to_the_same_characters_have_different_hashes():
    parts = [
        (("a", "b"), ("c",), ("d",)),
        (("ab",), ("c",), ("d",)),
        (("a",), ("b", "c"), ("d",)),
        (("a",), ("b",), ("cd",)),
    ]
    assert len({measurements._hash(each) for each in parts}) == len(parts)


def test_repeated_battles_are_measured_once(battles, expected, measured):
    twice = concatenate([battles, battles])
    assert (measurements.measure(twice, ALL) == np.vstack([expected, expected])).all()
    assert measured() == 24


def test_a_damaged_entry_is_measured_again(battles, expected, cache, measured):
    import sqlite3

    measurements.measure(battles, ALL)
    measurements.clear()
    with sqlite3.connect(cache) as database:
        database.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE rowid IN (1, 7, 20)")
    assert measured() == 24
    assert (measurements.measure(battles, ALL) == expected).all()
    assert measured() == 3


def test_another_version_of_the_code_or_another_group_measures_anew(battles, measured, monkeypatch):
    measurements.measure(battles, ALL)
    measured()
    for groups, sources in ((ALL[:2], measurements._sources), (ALL, lambda: "changed")):
        measurements.clear()
        monkeypatch.setattr(measurements, "_sources", sources)
        measurements.measure(battles, groups)
        assert measured() == 24


def test_an_interrupted_counting_continues(battles, expected, measured, monkeypatch):
    original = measurements._measure_block

    blocks = iter(range(2))

    def dying(texts, groups):
        if next(blocks, None) is None:
            raise KeyboardInterrupt
        return original(texts, groups)

    monkeypatch.setattr(measurements, "_measure_block", dying)
    with pytest.raises(KeyboardInterrupt):
        measurements.measure(battles, ALL)
    measurements.clear()
    monkeypatch.setattr(measurements, "_measure_block", original)
    measured()
    assert (measurements.measure(battles, ALL) == expected).all()
    assert measured() == 24 - 2 * 5


def test_numbers_of_the_users_own_functions_are_neither_written_nor_read(battles, cache):
    own = measurements.Group("mine.py:shout", None, lambda prompt: {"marks": float(prompt.text.count("!"))}, None)
    measurements.measure(battles, (own,))
    assert not cache.exists()


def test_a_stream_reads_what_was_written(battles, measured):
    measurements.measure(battles, ALL)
    measurements.clear()
    measured()
    with measurements.streaming():
        measurements.measure(battles, ALL)
    assert measured() == 0


def test_a_cache_that_cannot_be_used_costs_time_alone(battles, expected, cache):
    cache.mkdir()
    assert (measurements.measure(battles, ALL) == expected).all()


def test_small_tables_and_streams_write_nothing(battles, cache, monkeypatch):
    with measurements.streaming():
        measurements.measure(battles, ALL)
    assert not measurements._known
    monkeypatch.setattr(measurements, "LARGE", 25)
    measurements.measure(battles, ALL)
    assert VectorCache(cache).size()[0] == 0
    measurements.clear()
    monkeypatch.setattr(measurements, "LARGE", 24)
    measurements.measure(battles, ALL)
    assert VectorCache(cache).size()[0] == 24


def test_predictions_of_a_stream_leave_no_measurements(battles, cache):
    model = build("structure", rounds=2).fit(tiny_battles(60))
    measurements.clear()
    cache.unlink(missing_ok=True)
    FoldModels("structure", [0], [model], []).predict(battles)
    assert not measurements._known
    assert VectorCache(cache).size()[0] == 0


def test_memory_is_bounded_and_drops_the_least_recently_used(battles, measured, monkeypatch):
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")
    monkeypatch.setattr(measurements, "MOST_ROWS", 20)
    measurements.measure(battles.take(slice(0, 20)), ALL)
    measurements.measure(battles.take(slice(0, 4)), ALL)  # used again
    measurements.measure(battles.take(slice(20, 24)), ALL)
    assert len(measurements._known) == 20
    measured()
    measurements.measure(battles.take(slice(0, 4)), ALL)
    assert measured() == 0
    measurements.measure(battles.take(slice(4, 8)), ALL)
    assert measured() == 4
