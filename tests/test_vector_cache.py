import multiprocessing
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from pairrank import vector_cache
from pairrank.errors import UserError
from pairrank.vector_cache import VectorCache, cache_key, open_cache


def vectors(*numbers: int, width: int = 8) -> dict[bytes, np.ndarray]:
    return {cache_key(n): np.full(width, n, dtype=np.float32) for n in numbers}


def held(cache: VectorCache, *numbers: int) -> set[int]:
    return {int(vector[0]) for vector in cache.get([cache_key(n) for n in numbers]).values()}


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "deep" / "vectors.sqlite")


def test_get_returns_what_was_put_bit_for_bit(cache: VectorCache):
    kept = {cache_key(i): np.random.default_rng(i).normal(size=33).astype(np.float32) for i in range(1_234)}
    cache.put(kept)
    found = VectorCache(cache.file).get([*kept, cache_key("never put")])
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[key], kept[key]) and found[key].dtype == np.float32 for key in kept)
    assert cache.size()[0] == 1_234


def test_size_of_a_missing_cache_is_zero_and_creates_no_file(cache: VectorCache):
    assert cache.size() == (0, 0)
    assert not cache.file.exists()
    assert cache.get([cache_key(1)]) == {}


def test_the_last_vector_put_under_a_key_is_returned(cache: VectorCache):
    cache.put({cache_key(1): np.zeros(3, np.float32)})
    cache.put({cache_key(1): np.ones(3, np.float32)})
    assert cache.get([cache_key(1)])[cache_key(1)].tolist() == [1, 1, 1]


def test_cache_key_differs_for_different_parts():
    parts = [("a", "b"), ("ab",), ("a", ("b",)), (("a", "b"),), ("a", "b", None), ("\ud800",), ("\\ud800",)]
    assert len({cache_key(*part) for part in parts}) == len(parts)
    assert cache_key("a", 1) == cache_key("a", 1)


@pytest.mark.parametrize("column", ["vector", "checksum"])
def test_a_damaged_entry_counts_as_missing_and_can_be_replaced(cache: VectorCache, column: str):
    cache.put(vectors(1, 2))
    with sqlite3.connect(cache.file) as database:
        database.execute(f"UPDATE vectors SET {column} = zeroblob(length({column})) WHERE key = ?", [cache_key(1)])  # noqa: S608
    assert held(cache, 1, 2) == {2}
    cache.put(vectors(1))
    assert held(cache, 1, 2) == {1, 2}


@pytest.mark.parametrize("damage", ["NULL", "'text'", "7"])
def test_an_entry_that_is_not_a_vector_counts_as_missing(cache: VectorCache, damage: str):
    cache.put(vectors(1, 2))
    with sqlite3.connect(cache.file) as database:
        database.execute(f"UPDATE vectors SET vector = {damage} WHERE key = ?", [cache_key(1)])  # noqa: S608
    assert held(cache, 1, 2) == {2}


def test_a_vector_under_another_key_counts_as_missing(cache: VectorCache):
    cache.put(vectors(1, 2))
    with sqlite3.connect(cache.file) as database:
        database.execute("DELETE FROM vectors WHERE key = ?", [cache_key(1)])
        database.execute("UPDATE vectors SET key = ? WHERE key = ?", [cache_key(1), cache_key(2)])
    assert held(cache, 1, 2) == set()


@pytest.mark.parametrize("size", [0, 100, 5_000])
def test_a_file_that_is_not_a_database_is_replaced(cache: VectorCache, size: int):
    cache.put(vectors(1, 2, 3))
    cache.file.write_bytes(b"not a database " * 400 if size else b"")
    assert held(cache, 1) == set()
    cache.put(vectors(7))
    assert held(cache, 7) == {7}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    cache = VectorCache(tmp_path / "file" / "vectors.sqlite")
    cache.put(vectors(1))
    assert cache.get([cache_key(1)]) == {}


def test_a_cache_that_another_process_locks_is_no_error(cache: VectorCache, monkeypatch):
    cache.put(vectors(1))
    monkeypatch.setattr(vector_cache, "WAIT_SECONDS", 0.1)
    other = sqlite3.connect(cache.file)
    other.execute("BEGIN EXCLUSIVE")
    assert cache.get([cache_key(1)]) == {}
    cache.put(vectors(2))
    other.rollback()
    other.close()
    assert held(cache, 1, 2) == {1}


def test_a_full_cache_deletes_the_longest_unused_vectors(tmp_path: Path, monkeypatch):
    cache = VectorCache(tmp_path / "v.sqlite", max_bytes=400_000)
    clock = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    cache.put(vectors(*range(20), width=1_000))
    clock[0] += 2 * vector_cache.USE_SECONDS
    cache.put(vectors(*range(20, 40), width=1_000))
    clock[0] += 2 * vector_cache.USE_SECONDS
    assert held(cache, 3) == {3}
    for start in range(40, 120, 20):
        clock[0] += 1
        cache.put(vectors(*range(start, start + 20), width=1_000))
        count, size = cache.size()
        assert size <= 400_000
        assert count > 40
    there = held(cache, *range(120))
    assert 3 in there
    assert not there & {0, 1, 2, 4, 5}
    assert {*range(100, 120)} <= there


def test_a_vector_larger_than_the_cache_does_not_loop_forever(tmp_path: Path):
    cache = VectorCache(tmp_path / "v.sqlite", max_bytes=20_000)
    cache.put(vectors(1, width=100_000))
    assert cache.get([cache_key(1)]) == {}


def _fill(file: Path, start: int) -> None:
    for i in range(start, start + 40):
        VectorCache(file).put(vectors(i, i + 1_000))


@pytest.mark.slow
def test_several_processes_write_without_losing_vectors(cache: VectorCache):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    workers = [context.Process(target=_fill, args=(cache.file, 100 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    expected = {i + more for start in (0, 100, 200) for i in range(start, start + 40) for more in (0, 1_000)}
    assert held(cache, *range(2_000)) == expected


def _fill_for_ever(file: Path) -> None:
    i = 0
    while True:
        VectorCache(file).put({cache_key(i, n): np.full(500, i, np.float32) for n in range(50)})
        i += 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process as POSIX does")
def test_a_process_killed_during_a_write_leaves_complete_batches(cache: VectorCache):
    worker = multiprocessing.get_context("fork").Process(target=_fill_for_ever, args=(cache.file,))
    worker.start()
    deadline = time.monotonic() + 20
    while cache.size()[0] < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    count, _ = cache.size()
    assert count >= 100
    assert count % 50 == 0
    assert len(cache.get([cache_key(i, n) for i in range(count // 50) for n in range(50)])) == count


def test_open_cache_follows_the_environment_variables(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path))
    monkeypatch.setenv("PAIRRANK_CACHE_GB", "0.5")
    monkeypatch.delenv("PAIRRANK_NO_CACHE", raising=False)
    assert open_cache() == VectorCache(tmp_path / "vectors.sqlite", 2**29)
    for nonsense in ("much", "nan", "inf"):
        monkeypatch.setenv("PAIRRANK_CACHE_GB", nonsense)
        with pytest.raises(UserError, match=f"PAIRRANK_CACHE_GB = {nonsense}: expected a number of gigabytes"):
            open_cache()
    monkeypatch.setenv("PAIRRANK_NO_CACHE", "1")
    assert open_cache() is None


def test_the_cache_is_private_and_another_users_is_not_used(tmp_path: Path, monkeypatch, log_lines):
    monkeypatch.setenv("PAIRRANK_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "cache" / "vectors.sqlite"
    cache = open_cache()
    assert cache is not None
    assert cache.file == file
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    cache.put({b"key": np.ones(3, np.float32)})
    for mode in (0o664, 0o602):  # others may have written to it
        file.chmod(mode)
        assert (anew := open_cache()) is not None
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert anew.get([b"key"]) == {}
    file.parent.chmod(0o770)  # others can replace the file, or put a journal next to it
    assert open_cache() is None
    file.parent.chmod(0o700)
    file.rename(own := file.with_name("own"))
    own.chmod(0o644)
    file.symlink_to(own)
    assert open_cache() is None
    assert stat.S_IMODE(own.stat().st_mode) == 0o644
    file.unlink()
    assert open_cache() is not None
    monkeypatch.setattr(os, "getuid", lambda: file.stat().st_uid + 1)
    assert open_cache() is None
    assert [line.partition(": ")[2].partition(",")[0] for line in log_lines] == [
        f"other users may write to its folder (chmod go-w {file.parent})",
        "it is not a regular file",
        f"it belongs to another user (number {file.stat().st_uid})",
    ]
