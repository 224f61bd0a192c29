"""The generators of the site, which docs/conf.py imports as the package `generate`."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests import what docs/conf.py imports."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
