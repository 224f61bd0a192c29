"""pairrank predicts which of two chatbot answers people prefer, and compares architectures for this task honestly.

>>> from pairrank import build, read_battles
>>> battles = read_battles("Dataset/sample/train.csv")
>>> build("structure").fit(battles).predict_proba(battles)  # (n, 3): A, B, tie
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairrank.data.battles import Battles, Winner
    from pairrank.data.frames import from_dataframe, from_dataset, from_records, to_dataframe
    from pairrank.data.predictions import Predictions, read_predictions
    from pairrank.data.reading import read_battles
    from pairrank.errors import UserError
    from pairrank.models.base import build
    from pairrank.models.saving import load_model
    from pairrank.plugins import load_plugin

__all__ = [
    "Battles",
    "Predictions",
    "UserError",
    "Winner",
    "build",
    "from_dataframe",
    "from_dataset",
    "from_records",
    "load_model",
    "load_plugin",
    "read_battles",
    "read_predictions",
    "to_dataframe",
]

HOMES = {
    "Battles": "data.battles",
    "Predictions": "data.predictions",
    "UserError": "errors",
    "Winner": "data.battles",
    "build": "models.base",
    "from_dataframe": "data.frames",
    "from_dataset": "data.frames",
    "from_records": "data.frames",
    "load_model": "models.saving",
    "load_plugin": "plugins",
    "read_battles": "data.reading",
    "read_predictions": "data.predictions",
    "to_dataframe": "data.frames",
}


def __getattr__(name: str) -> Any:
    # A module is imported when one of its names is first used, so that `--help` does not load numpy.
    if name not in HOMES:
        raise AttributeError(f"module 'pairrank' has no attribute {name!r}")
    return getattr(import_module(f"pairrank.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
