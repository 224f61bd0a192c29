"""The examples in the docstrings of the functions for programs."""

import doctest
import importlib
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["comparison", "cross_validation", "prediction"])
def test_every_example_shows_what_it_gives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # without ./Dataset, the data are the sample
    done = doctest.testmod(importlib.import_module(f"pairrank.api.{name}"))
    assert done.failed == 0
    assert done.attempted > 2
