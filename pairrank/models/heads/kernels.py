"""How alike two battles are, as numbers that may be weighed: kernels, and the columns they stand for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairrank.data.probabilities import FloatArray

ROWS = 2048
"""Rows compared at once: bounds the memory of any number of battles."""
SMALLEST = 1e-10
"""Directions whose share of the largest eigenvalue is less than this are rounding errors."""


class Points(NamedTuple):
    """n battles as a kernel sees them."""

    odd: FloatArray
    """(n, p) standardised; no columns for a kernel of even features alone."""
    even: FloatArray
    """(n, q) standardised; no columns for a kernel of odd features alone."""

    def take(self, rows: npt.NDArray[np.int64] | slice) -> "Points":
        """Some of them."""
        return Points(self.odd[rows], self.even[rows])


Kernel = Callable[[Points, Points], FloatArray]
"""(n, m) of n points and m points."""


def mixed(rbf: float, length_scale: float) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """x·x'/q and exp(-|x - x'|² / (2 l² q)) of q features, the second with the share `rbf`."""

    def kernel(one: FloatArray, other: FloatArray) -> FloatArray:
        width = max(one.shape[1], 1)
        product = one @ other.T / width
        values: FloatArray = (1 - rbf) * product
        if rbf:
            values += rbf * np.exp(-_distances(one, other, product) / (2 * length_scale**2))
        return values

    return kernel


def mixed_odd(rbf: float, length_scale: float) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """The same made odd: (k(x, x') - k(x, -x')) / 2, the covariance of (f(x) - f(-x)) / √2 for f of covariance k.

    So every function in its space is odd, which is what a preference is when the sides change places (Chu &
    Ghahramani 2005; Houlsby et al. 2012, who build theirs on the two answers and not on differences).
    """

    def kernel(one: FloatArray, other: FloatArray) -> FloatArray:
        width = max(one.shape[1], 1)
        product = one @ other.T / width
        values: FloatArray = (1 - rbf) * product
        if rbf:
            near, far = (
                np.exp(-_distances(one, other, signed) / (2 * length_scale**2)) for signed in (product, -product)
            )
            values += rbf * (near - far) / 2
        return values

    return kernel


def _distances(one: FloatArray, other: FloatArray, product: FloatArray) -> FloatArray:
    """(n, m) mean squared differences, from mean products; rounding may leave nothing below 0."""
    width = max(one.shape[1], 1)
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    distances: FloatArray = np.maximum(squares / width - 2 * product, 0)
    return distances


def choose_landmarks(n: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows that all others are compared with: every one, or `most` drawn without looking at them."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def feature_map(kernel: Kernel, landmarks: Points) -> FloatArray:
    """(m, r) matrix T, so that K(x, landmarks) T are columns whose products are the kernel's values.

    T = U Λ^(-1/2) of the landmarks' own kernel matrix U Λ U': exact among landmarks, and Nyström's approximation
    elsewhere (Williams & Seeger 2001).
    """
    values, vectors = np.linalg.eigh(kernel(landmarks, landmarks))
    kept = values > SMALLEST * max(values.max(initial=0), 1e-300)
    columns: FloatArray = vectors[:, kept] / np.sqrt(values[kept])
    return columns


def compared(kernel: Kernel, points: Points, landmarks: Points, turned: FloatArray) -> FloatArray:
    """(n, r) K(points, landmarks) times `turned` (m, r), some rows at a time."""
    parts = [kernel(block, landmarks) @ turned for block in _blocks(points)]
    return np.concatenate(parts) if parts else np.empty((0, turned.shape[1]))


def _blocks(points: Points) -> Iterator[Points]:
    for start in range(0, len(points.odd), ROWS):
        yield points.take(slice(start, start + ROWS))
