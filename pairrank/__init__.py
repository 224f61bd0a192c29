"""pairrank predicts which of two chatbot answers people prefer, and compares architectures for this task honestly.

>>> import pairrank
>>> results = [pairrank.cross_validate(name, "Dataset/sample") for name in ("prior", "structure")]
>>> pairrank.compare(results).to_dataframe()
>>> pairrank.submit(results[1], out="submission.csv")
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairrank.api.auto import AutoResult, auto
    from pairrank.api.comparison import Leaderboard, compare
    from pairrank.api.cross_validation import CrossValidation, cross_validate
    from pairrank.api.difference import RunComparison, diff
    from pairrank.api.entering import enter
    from pairrank.api.exporting import export
    from pairrank.api.pages import explore, report
    from pairrank.api.prediction import predict, predict_file, submit
    from pairrank.api.sources import BattlesInMemory
    from pairrank.api.tuning import tune
    from pairrank.api.tuning_results import NestedTuning, Tuning
    from pairrank.data.battles import Battles, Winner
    from pairrank.data.frames import from_dataframe, from_dataset, from_records, to_dataframe
    from pairrank.data.predictions import Predictions, read_predictions
    from pairrank.data.reading import read_battles
    from pairrank.errors import UserError
    from pairrank.models.base import build
    from pairrank.models.saving import load_model
    from pairrank.plugins import load_plugin

__all__ = [
    "AutoResult",
    "Battles",
    "BattlesInMemory",
    "CrossValidation",
    "Leaderboard",
    "NestedTuning",
    "Predictions",
    "RunComparison",
    "Tuning",
    "UserError",
    "Winner",
    "auto",
    "build",
    "compare",
    "cross_validate",
    "diff",
    "enter",
    "explore",
    "export",
    "from_dataframe",
    "from_dataset",
    "from_records",
    "load_model",
    "load_plugin",
    "predict",
    "predict_file",
    "read_battles",
    "read_predictions",
    "report",
    "submit",
    "to_dataframe",
    "tune",
]

HOMES = {
    "AutoResult": "api.auto",
    "Battles": "data.battles",
    "BattlesInMemory": "api.sources",
    "CrossValidation": "api.cross_validation",
    "Leaderboard": "api.comparison",
    "NestedTuning": "api.tuning_results",
    "Predictions": "data.predictions",
    "RunComparison": "api.difference",
    "Tuning": "api.tuning_results",
    "UserError": "errors",
    "Winner": "data.battles",
    "auto": "api.auto",
    "build": "models.base",
    "compare": "api.comparison",
    "cross_validate": "api.cross_validation",
    "diff": "api.difference",
    "enter": "api.entering",
    "explore": "api.pages",
    "export": "api.exporting",
    "from_dataframe": "data.frames",
    "from_dataset": "data.frames",
    "from_records": "data.frames",
    "load_model": "models.saving",
    "load_plugin": "plugins",
    "predict": "api.prediction",
    "predict_file": "api.prediction",
    "read_battles": "data.reading",
    "read_predictions": "data.predictions",
    "report": "api.pages",
    "submit": "api.prediction",
    "to_dataframe": "data.frames",
    "tune": "api.tuning",
}


def __getattr__(name: str) -> Any:
    # A module is imported when one of its names is first used, so that `--help` does not load numpy.
    if name not in HOMES:
        raise AttributeError(f"module 'pairrank' has no attribute {name!r}")
    return getattr(import_module(f"pairrank.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """This package, in which `report` is always the function."""

    @property
    def report(self) -> Any:
        return __getattr__("report")

    @report.setter
    def report(self, package: ModuleType) -> None:
        # The import system would bind the name to the package `pairrank.report`, which imports still find.
        pass


sys.modules[__name__].__class__ = _Package
