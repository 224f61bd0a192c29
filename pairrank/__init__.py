"""pairrank predicts which of two chatbot answers people prefer, and compares the architectures that do, honestly.

>>> from pairrank import build, read_battles
>>> battles = read_battles("Dataset/sample/train.csv")
>>> build("structure").fit(battles).predict_proba(battles)  # (n, 3): A, B, tie
"""

from pairrank.battle_files import read_battles
from pairrank.battles import Battles, Winner
from pairrank.errors import UserError
from pairrank.models.base import build, load_model
from pairrank.predictions import Predictions, read_predictions

__all__ = [
    "Battles",
    "Predictions",
    "UserError",
    "Winner",
    "build",
    "load_model",
    "read_battles",
    "read_predictions",
]
