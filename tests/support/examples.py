"""Example models: each file of tests/examples is one, as a user would add it to pairrank/models."""

import importlib
import sys
from pathlib import Path

from pairrank.models import base

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> str:
    """Return the source of an example model."""
    return (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")


def forget_model(name: str) -> None:
    """Unload a model's module, so that its file is read when it is next asked for."""
    sys.modules.pop(f"pairrank.models.{name}", None)
    base._REGISTRY.pop(name, None)
    importlib.invalidate_caches()
