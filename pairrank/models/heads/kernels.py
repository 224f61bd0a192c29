"""Kernels that measure how similar two battles are, and the columns whose products are a kernel's values."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairrank.data.probabilities import FloatArray

ROWS = 2048
"""Rows per block of a kernel matrix, which bounds the memory for any number of battles."""
SMALLEST = 1e-10
"""Eigenvalues below this share of the largest one are rounding errors."""


class Points(NamedTuple):
    """Standardised features of n battles, the arguments of a kernel."""

    odd: FloatArray
    """(n, p); p is 0 for a kernel of even features alone."""
    even: FloatArray
    """(n, q); q is 0 for a kernel of odd features alone."""

    def take(self, rows: npt.NDArray[np.int64] | slice) -> "Points":
        """Return the battles at `rows`."""
        return Points(self.odd[rows], self.even[rows])


Kernel = Callable[[Points, Points], FloatArray]
"""Maps n points and m points to the (n, m) kernel matrix."""


def mixed_kernel(rbf: float, length_scale: float) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Return the kernel (1 - rbf) x·x'/q + rbf exp(-|x - x'|² / (2 l² q)) of q features; l is `length_scale`."""

    def kernel(one: FloatArray, other: FloatArray) -> FloatArray:
        width = max(one.shape[1], 1)
        product = one @ other.T / width
        values: FloatArray = (1 - rbf) * product
        if rbf:
            values += rbf * np.exp(-_distances(one, other, product) / (2 * length_scale**2))
        return values

    return kernel


def odd_kernel(rbf: float, length_scale: float) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Return the odd part of `mixed_kernel`: (k(x, x') - k(x, -x')) / 2.

    It is the covariance of (f(x) - f(-x)) / √2 for f of covariance k. So every function in its space is odd, as a
    preference is when the sides are swapped (Chu & Ghahramani 2005; Houlsby et al. 2012, whose kernels compare the
    two answers and not their differences).
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
    """Return (n, m) mean squared differences from (n, m) mean products; none is below 0 by rounding."""
    width = max(one.shape[1], 1)
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    distances: FloatArray = np.maximum(squares / width - 2 * product, 0)
    return distances


def choose_landmarks(n: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the rows of the landmarks: all n rows, or `most` of them drawn at random, in ascending order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def feature_map(kernel: Kernel, landmarks: Points) -> FloatArray:
    """Return the (m, r) matrix T for which products of the columns K(x, landmarks) T are the kernel's values.

    T = U Λ^(-1/2), where U Λ U' is the kernel matrix of the landmarks. The products are exact among landmarks, and
    Nyström's approximation elsewhere (Williams & Seeger 2001).
    """
    values, vectors = np.linalg.eigh(kernel(landmarks, landmarks))
    kept = values > SMALLEST * max(values.max(initial=0), 1e-300)
    columns: FloatArray = vectors[:, kept] / np.sqrt(values[kept])
    return columns


def kernel_product(
    kernel: Kernel, points: Points, landmarks: Points, factor: FloatArray, zeros: int = 0
) -> FloatArray:
    """Return (n + zeros, r) K(points, landmarks) times `factor` (m, r), with rows of 0 at the end.

    It is computed in blocks of rows, and the rows at the end spare the copy that appending them would need.
    """
    count = len(points.odd)
    product = np.zeros((count + zeros, factor.shape[1]))
    for start in range(0, count, ROWS):
        rows = slice(start, min(start + ROWS, count))
        product[rows] = kernel(points.take(rows), landmarks) @ factor
    return product
