"""A temperature and a tie offset adjust given probabilities to how often the outcomes occur."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from pairrank.data.battles import Battles
from pairrank.data.probabilities import FloatArray, Proba, margin_and_tie, softmax
from pairrank.training.loss import battle_loss, heads_of
from pairrank.training.recipe import make_targets

SHARPEST, FLATTEST = 0.01, 100.0
"""Bounds of the fitted temperature."""
MOST_OFFSET = 30.0
"""Bound of the fitted tie offset, in either direction."""


@dataclass(frozen=True)
class Calibration:
    """A symmetric map of probabilities: logits (m, -m, t) become (m / T, -m / T, t / T + offset)."""

    temperature: float = 1.0
    """T; above 1 the probabilities become flatter, below 1 sharper."""
    tie_offset: float = 0.0
    """Number that is added to the logit of a tie."""

    def __call__(self, proba: Proba) -> Proba:
        """Return the (n, 3) adjusted probabilities."""
        return softmax(_logits(proba) / self.temperature + np.array([0.0, 0.0, self.tie_offset]))


def fit_calibration(proba: Proba, battles: Battles, soft_targets: bool = False) -> Calibration:
    """Return the temperature and the tie offset of maximum likelihood for (n, 3) probabilities of battles.

    The loss is convex in 1 / T and the offset, so that there is one optimum within the bounds.
    """
    logits = torch.from_numpy(_logits(proba))
    targets, taught = torch.from_numpy(make_targets(battles, soft_targets)), heads_of(battles)
    heads = None if taught is None else torch.from_numpy(taught)
    scale = 1 / max(float(battles.weights.mean()), np.finfo(float).tiny)

    def loss(free: FloatArray) -> tuple[float, FloatArray]:
        slope, offset = (torch.tensor(value, requires_grad=True) for value in free)
        adjusted = slope * logits + offset * torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        value = battle_loss(adjusted, targets, heads) * scale
        value.backward()  # type: ignore[no-untyped-call]
        return value.item(), np.array([float(each.grad) for each in (slope, offset)])  # type: ignore[arg-type]

    bounds = [(1 / FLATTEST, 1 / SHARPEST), (-MOST_OFFSET, MOST_OFFSET)]
    options = {"ftol": 1e-14, "gtol": 1e-9}
    slope, offset = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    ).x
    return Calibration(float(1 / slope), float(offset))


def _logits(proba: Proba) -> FloatArray:
    """Return the (n, 3) logits (m, -m, t) of probabilities."""
    margin, tie = margin_and_tie(proba)
    return np.stack([margin, -margin, tie], axis=1)
