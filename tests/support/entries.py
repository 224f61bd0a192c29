"""Made-up entries of a leaderboard on sixty tiny battles, and their losses computed by pandas alone."""

from dataclasses import replace

import numpy as np
import pandas as pd

from pairrank.data.predictions import Predictions, predictions_hash
from pairrank.evaluation.entries import Entry
from pairrank.evaluation.run_record import record_from_json
from tests.support.battles import tiny_battles

BATTLES = tiny_battles(60)
PROMPTS = [prompt[0] for prompt in BATTLES.prompt]


def some_predictions(seed, rows=slice(None)):
    rng = np.random.default_rng(seed)
    return Predictions(BATTLES.id[rows], rng.dirichlet([4, 3, 2], 60)[rows])


def some_record(label, predictions, **more):
    values = {
        "label": label,
        "identity": "i",
        "predictions": predictions_hash(predictions),
        "experiment": {"submittable": True, "model": {"name": "m", "seed": 3}, "split": {"folds": 5}},
        "data": {"name": "d", "hash": BATTLES.content_hash(), "battles": len(BATTLES)},
        "folds": [0, 1, 2, 3, 4],
        "log_loss": 9.0,
        "encoder": {"name": "enc", "sha256": "0123456789abcdef"},
        "swap_gap": 0.01234,
        "flip_rate": 0.0625,
        "kept": {"prompt": 1.0, "response_a": 0.5, "response_b": 0.25},
        "lost_a_side": 2,
        "parameters": 1_234_567,
        "training_seconds": 61.2,
        "battles_per_second": 12.345,
        "peak_memory_mb": 1000.4,
        "warnings": [],
    }
    # A record with such a name would not be read; an added file may have it.
    return replace(record_from_json(values | {"label": "x"} | more), label=label)


def entry(label, seed=0, rows=slice(None), **more):
    predictions = some_predictions(seed, rows)
    return Entry(label, predictions, some_record(label, predictions, **more))


def plain_losses(predictions):
    """Return the losses by id, computed by pandas."""
    winner = pd.Series(BATTLES.labels, index=BATTLES.id)[list(predictions.id)]
    table = pd.DataFrame(predictions.proba, index=predictions.id)
    return pd.Series(-np.log(table.to_numpy()[np.arange(len(table)), winner.to_numpy()]), index=predictions.id)


def row_of(board, label):
    return next(row for row in board.rows if row.label == label)
