"""Remembers the winner of every prompt it was trained on, and nothing else."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pairrank.data.battles import Battles
from pairrank.models.base import Model, register
from pairrank.training.monitor import Monitor


@register("memory")
@dataclass
class Memory(Model):
    """A model that profits from every leak."""

    sureness: float = 0.9
    seed: int = 0
    soft_targets: bool = False
    symmetric: ClassVar[bool] = False

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        # Next to the folds, where tests read it.
        with (folder.parent / "fits.txt").open("a") as file:
            file.write(json.dumps([folder.name, train.id.tolist()]) + "\n")
        if train.soft is not None:
            soft = dict(zip(train.id, train.soft.tolist(), strict=True))
            (folder.parent / "soft.json").write_text(json.dumps(soft))
        self.known_ = {prompt[0]: int(w) for prompt, w in zip(train.prompt, train.labels, strict=True)}
        self.bias_ = len(train) / 1e4
        return self

    def predict_proba(self, battles: Battles) -> Any:
        rows = np.full((len(battles), 3), (1 - self.sureness) / 2)
        for row, prompt in zip(rows, battles.prompt, strict=True):
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
        return {"parameters": np.int64(len(self.known_)), "warnings": ["a [bracketed] warning"]}
