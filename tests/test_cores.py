"""Work is spread over the cores that this process may really use."""

import pytest

from pairrank import cores


@pytest.mark.parametrize(("allowed", "physical", "expected"), [(8, 4, 4), (2, 64, 2), (3, None, 3), (0, 4, 1)])
def test_the_lowest_limit_counts(
    monkeypatch: pytest.MonkeyPatch, allowed: int, physical: int | None, expected: int
):
    monkeypatch.setattr("joblib.cpu_count", lambda: allowed)  # by affinity and by the quota of a container
    monkeypatch.setattr(cores.psutil, "cpu_count", lambda logical: physical)
    assert cores.usable_cores() == expected


@pytest.mark.parametrize(("wanted", "expected"), [("", 4), ("1", 1), ("9", 4), ("2,1", 4)])
def test_threads_follow_omp_num_threads(monkeypatch: pytest.MonkeyPatch, wanted: str, expected: int):
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert cores.usable_threads() == expected
