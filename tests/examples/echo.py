"""Predicts what its first input predicts, and writes down the inputs of its training battles."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pairrank.data.battles import Battles
from pairrank.models.base import Model, UseOfInputs, register
from pairrank.training.monitor import Monitor


@register("echo")
@dataclass
class Echo(Model):
    """A stack that adds nothing."""

    seed: int = 0
    inputs: ClassVar[UseOfInputs] = "needed"
    symmetric: ClassVar[bool] = True

    def fit(self, train: Battles, folder: Path | None = None, monitor: Monitor | None = None) -> Self:
        (folder / "inputs.json").write_text(json.dumps(dict(zip(train.id, train.inputs.tolist(), strict=True))))
        return self

    def predict_proba(self, battles: Battles) -> Any:
        return battles.inputs[:, 0]

    def save(self, folder: Path) -> None:
        pass

    def load(self, folder: Path) -> Self:
        return self

    def report(self) -> dict[str, Any]:
        return {"parameters": 0}
