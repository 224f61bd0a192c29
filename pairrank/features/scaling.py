"""Columns are put on one scale before they are penalised: centred, divided by their spread, and clipped."""

from dataclasses import dataclass

import numpy as np

from pairrank.data.probabilities import FloatArray

SMALLEST_SPREAD = 1e-9
"""A column with a smaller spread is constant except for rounding errors, which a division would magnify."""


@dataclass(frozen=True)
class Scaling:
    """Centre, scale and bound of p columns."""

    centre: FloatArray
    """(p,) numbers that are subtracted; 0 for an odd column, so that its sign is kept."""
    scale: FloatArray
    """(p,) numbers that the columns are then divided by."""
    clip: float
    """The largest absolute value after the division."""

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return the (n, p) columns centred, divided by their scale and clipped."""
        scaled: FloatArray = np.clip((x - self.centre) / self.scale, -self.clip, self.clip)
        return scaled


def fit_scaling(x: FloatArray, weight: FloatArray, clip: float, odd: bool = False) -> Scaling:
    """Estimate centre and scale from (n, p) columns, each row counted with its weight (n,).

    Odd columns change their sign when the sides are swapped. Their mean over both orders is 0, so their centre is
    exactly 0. A constant column has the scale 1.
    """
    columns = x.shape[1]
    if not len(x):
        return Scaling(np.zeros(columns), np.ones(columns), clip)
    centre = np.zeros(columns) if odd else np.average(x, axis=0, weights=weight)
    spread = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=weight))
    return Scaling(centre, np.where(spread < SMALLEST_SPREAD, 1.0, spread), clip)
