"""One temperature corrects how sure a model is; the epoch may be chosen by the loss that is left after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.optimize import minimize_scalar

from pairrank.data.probabilities import FloatArray, Labels, softmax
from pairrank.evaluation.scoring import log_loss

SHARPEST, FLATTEST = 0.5, 2.0
"""Bounds of the temperature."""


def fit_temperature(logits: FloatArray, winner: Labels) -> float:
    """Return the temperature by which (n, 3) logits must be divided for the lowest log loss, within the bounds.

    The loss is convex in 1 / temperature, so that there is one optimum.
    """

    def loss(slope: float) -> float:
        return log_loss(softmax(slope * logits), winner)

    found = minimize_scalar(loss, bounds=(1 / FLATTEST, 1 / SHARPEST), method="bounded", options={"xatol": 1e-7})
    # The search never tries its bounds themselves.
    slope = min((float(found.x), 1 / FLATTEST, 1 / SHARPEST), key=loss)
    return 1 / slope


def temperature_in(log: Sequence[Mapping[str, Any]], keep_best: bool) -> float:
    """Return the temperature of the epoch whose weights are kept, from the Trainer's log; 1 if none was fitted."""
    epochs = [entry for entry in log if "eval_temperature" in entry]
    if not epochs:
        return 1.0
    kept = min(epochs, key=lambda entry: float(entry["eval_calibrated_log_loss"])) if keep_best else epochs[-1]
    return float(kept["eval_temperature"])
