"""The power law by which the log loss of a model falls with the number of its training battles."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairrank.data.probabilities import FloatArray

EXPONENTS = (0.05, 2.0)
"""Bounds of the exponent. A law below them is a line in log size; one above them is flat after two sizes."""

GRID, REFINEMENTS = 40, 3
"""Exponents that are tried at once, and how often the search is repeated between the neighbours of the best one."""


@dataclass(frozen=True, eq=False)
class PowerLaws:
    """d laws loss = floor + scale * size ** -exponent, one for each sample of a bootstrap."""

    floor: FloatArray
    """(d,) log loss in nats that is approached with unlimited battles."""
    scale: FloatArray
    """(d,) how far one training battle would be above the floor, in nats; never below 0."""
    exponent: FloatArray
    """(d,) within `EXPONENTS`; without a meaning where the scale is 0."""

    def at(self, size: float) -> FloatArray:
        """Return the (d,) log losses for this number of training battles."""
        return np.asarray(self.floor + self.scale * size**-self.exponent)

    def per_doubling(self, size: float) -> FloatArray:
        """Return the (d,) slopes at this size: the derivative of the loss by the binary logarithm of the size."""
        return np.asarray(-np.log(2) * self.exponent * self.scale * size**-self.exponent)


def fit_power_laws(sizes: npt.ArrayLike, losses: npt.ArrayLike, lowest: npt.ArrayLike = 0.0) -> PowerLaws:
    """Fit one law to each row of the (d, m) losses at m increasing sizes by weighted least squares.

    `lowest` is the lower bound of the floor, one number or (d,). Larger sizes say more about what follows them: the
    j-th smallest of m sizes has the weight j / m. For a given exponent the law is linear, so floor and scale are
    solved exactly and only the exponent is searched. Sources: Figueroa et al., "Predicting sample size required for
    classification performance", BMC Medical Informatics and Decision Making 12 (2012); Golub and Pereyra, "The
    differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate" (1973).
    """
    x, y = np.asarray(sizes, dtype=np.float64), np.atleast_2d(np.asarray(losses, dtype=np.float64))
    bound = np.broadcast_to(np.asarray(lowest, dtype=np.float64), len(y))
    low, high = (np.full(len(y), end) for end in EXPONENTS)
    rows = np.arange(len(y))
    for _ in range(1 + REFINEMENTS):
        exponents = np.geomspace(low, high, GRID, axis=1)
        errors, floor, scale = _solve(x / x[-1], y, exponents, bound)
        best = errors.argmin(axis=1)
        low, high = (exponents[rows, np.clip(best + step, 0, GRID - 1)] for step in (-1, 1))
    exponent = exponents[rows, best]
    return PowerLaws(floor[rows, best], scale[rows, best] * x[-1] ** exponent, exponent)


def _solve(
    x: FloatArray, y: FloatArray, exponents: FloatArray, bound: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return squared error, floor and scale, each (d, g), of the best law for every exponent of the (d, g)."""
    weights = np.arange(1, len(x) + 1) / len(x)
    weights /= weights.sum()
    basis = x ** -exponents[:, :, None]  # (d, g, m)
    loss, lowest = y[:, None, :], bound[:, None]
    mean_basis, mean_loss = (weights * basis).sum(axis=2), (weights * loss).sum(axis=2)
    centred = basis - mean_basis[:, :, None]
    scale = (weights * centred * loss).sum(axis=2) / (weights * centred**2).sum(axis=2)
    above = (weights * basis * (loss - lowest[:, :, None])).sum(axis=2) / (weights * basis**2).sum(axis=2)
    flat = np.broadcast_to(np.maximum(mean_loss, lowest), scale.shape)
    # The best law inside the bounds, or else the better one of those on each bound.
    candidates = [
        (mean_loss - scale * mean_basis, scale),
        (np.broadcast_to(lowest, scale.shape), np.maximum(above, 0)),
        (flat, np.zeros_like(scale)),
    ]
    errors = np.stack(
        [(weights * (floor[:, :, None] + b[:, :, None] * basis - loss) ** 2).sum(axis=2) for floor, b in candidates]
    )
    errors[0][(candidates[0][0] < lowest) | (scale < 0)] = np.inf
    chosen = errors.argmin(axis=0)
    floor, fitted = (np.choose(chosen, [each[part] for each in candidates]) for part in (0, 1))
    return errors.min(axis=0), floor, fitted
