"""Tiny folders of hand-made battles, architectures that live in one test, and the command line as a function."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pairrank import models
from pairrank.data.battles import Battles, object_array
from pairrank.data.reading import write_battles
from pairrank.models import base

MEMORY = '''"""Knows every prompt it was trained on by heart, and nothing else."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.models.base import register

@register("memory")
@dataclass
class Memory:
    """A model that profits from every leak."""

    sureness: float = 0.9
    seed: int = 0
    soft_targets: bool = False
    symmetric: ClassVar[bool] = False

    def fit(self, train: Battles, folder: Path | None = None) -> Self:
        # Kept beside the folds, where the test looks it up.
        with (folder.parent / "fits.txt").open("a") as file:
            file.write(json.dumps([folder.name, train.id.tolist()]) + "\\n")
        if train.soft is not None:
            (folder.parent / "soft.json").write_text(json.dumps(dict(zip(train.id, train.soft.tolist()))))
        self.known_ = {prompt[0]: int(w) for prompt, w in zip(train.prompt, train.labels)}
        self.bias_ = len(train) / 1e4
        return self

    def predict_proba(self, battles: Battles) -> Any:
        rows = np.full((len(battles), 3), (1 - self.sureness) / 2)
        for row, prompt in zip(rows, battles.prompt):
            winner = self.known_.get(prompt[0])
            row[:] = [1 / 3, 1 / 3, 1 / 3] if winner is None else row
            if winner is not None:
                row[winner] = self.sureness
            elif "test" in prompt[0]:
                row[:] = [0.5 + self.bias_, 0.3, 0.2 - self.bias_]
        return rows

    def save(self, folder: Path) -> None:
        (folder / "memory.json").write_text(json.dumps([self.known_, self.bias_]))

    def load(self, folder: Path) -> Self:
        self.known_, self.bias_ = json.loads((folder / "memory.json").read_text())
        return self

    def report(self) -> dict[str, Any]:
        return {"parameters": np.int64(len(self.known_)), "warnings": ["told [you] so"]}
'''
"""A model's file; its report holds numpy's own numbers."""

ECHO = '''"""Says what its first input says, and keeps what it was told."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.models.base import register

@register("echo")
@dataclass
class Echo:
    """A stack that adds nothing."""

    seed: int = 0
    inputs: ClassVar[str] = "needed"
    symmetric: ClassVar[bool] = True

    def fit(self, train: Battles, folder: Path | None = None) -> Self:
        (folder / "told.json").write_text(json.dumps(dict(zip(train.id, train.inputs.tolist()))))
        return self

    def predict_proba(self, battles: Battles) -> Any:
        return battles.inputs[:, 0]

    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> Self:
        return self

    def report(self) -> dict[str, Any]:
        return {"parameters": 0}
'''
"""A model's file; it needs inputs."""

DIVERGED = MEMORY.replace(
    "return {",
    """names = "Validation Loss,Accuracy,Log Loss,Runtime,Samples Per Second,Steps Per Second".split(",")
        rows = [{"Step": s, "Training Loss": float("nan"), **dict.fromkeys(names, np.float32(1.5))} for s in (3, 6)]
        return {"history": rows, """,
)
"""The same with the history that a diverged training leaves: NaN."""


def tiny_battles(n: int = 40, first: int = 0, word: str = "train", labelled: bool = True) -> Battles:
    """n battles; each prompt is asked twice, with the same winner, so that a leak pays."""
    numbers = range(first, first + n)
    winner = np.array([(i // 2) % 3 for i in numbers], dtype=np.int64)
    models_ = {f"model_{side}": object_array([f"m{i % 3}{side}" for i in numbers]) for side in "ab"}
    return Battles(
        id=object_array([str(1000 + i) for i in numbers]),
        prompt=object_array([(f"A {word} question, number {i // 2}?",) for i in numbers]),
        response_a=object_array([("yes " * (1 + i % 5),) for i in numbers]),
        response_b=object_array([("no, " * (1 + i % 7),) for i in numbers]),
        **(models_ | {"winner": winner} if labelled else {}),
    )


def write_folder(folder: Path, n: int = 40, tests: int = 6, first: int = 0) -> Path:
    """A data folder of tiny battles."""
    folder.mkdir(parents=True, exist_ok=True)
    write_battles(tiny_battles(n, first), folder / "train.csv")
    if tests:
        write_battles(tiny_battles(tests, first=5000, word="test", labelled=False), folder / "test.csv")
    return folder


@pytest.fixture
def add_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Adds an architecture: one file in models/, for the length of a test."""
    folder = tmp_path / "architectures"
    folder.mkdir()
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(folder)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    added = []

    def add(name: str, source: str) -> None:
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        added.append(name)
        _forget(name)

    yield add
    for name in added:
        _forget(name)


def _forget(name: str) -> None:
    sys.modules.pop(f"pairrank.models.{name}", None)
    base._REGISTRY.pop(name, None)
    importlib.invalidate_caches()
