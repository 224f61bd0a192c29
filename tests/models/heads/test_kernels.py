"""A kernel is its formula, an odd one changes sign, and landmarks approximate it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairrank.models.heads import kernels
from pairrank.models.heads.kernels import (
    Points,
    choose_landmarks,
    feature_map,
    kernel_product,
    mixed_kernel,
    odd_kernel,
)
from tests.support.kernels import even_by_hand, odd_by_hand

NUMBERS = arrays(np.float64, (6, 3), elements=st.floats(-3, 3, width=32))
NONE = np.empty((6, 0))


@pytest.mark.parametrize(("build_kernel", "oracle"), [(mixed_kernel, even_by_hand), (odd_kernel, odd_by_hand)])
@pytest.mark.parametrize(("rbf", "length"), [(0.0, 1.0), (0.4, 0.5), (1.0, 2.0)])
@given(x=NUMBERS, y=NUMBERS)
@settings(max_examples=15, deadline=None)
def test_a_kernel_is_its_formula(build_kernel, oracle, rbf: float, length: float, x, y):
    expected = [[oracle(row, other, rbf, length) for other in y] for row in x]
    np.testing.assert_allclose(build_kernel(rbf, length)(x, y), expected, atol=1e-12)


@pytest.mark.parametrize("rbf", [0.0, 0.5, 1.0])
@given(x=NUMBERS, y=NUMBERS)
@settings(max_examples=25, deadline=None)
def test_the_odd_kernel_changes_sign_with_either_point_to_the_last_bit(rbf: float, x, y):
    odd = odd_kernel(rbf, 1.3)
    np.testing.assert_array_equal(odd(-x, y), -odd(x, y))
    np.testing.assert_array_equal(odd(x, -y), -odd(x, y))


@given(x=NUMBERS)
@settings(max_examples=15, deadline=None)
def test_the_columns_of_all_landmarks_multiply_to_the_kernel(x: np.ndarray):
    points, odd = Points(x, NONE), odd_kernel(0.5, 1.0)
    kernel = lambda one, other: odd(one.odd, other.odd)  # noqa: E731
    columns = kernel_product(kernel, points, points, feature_map(kernel, points))
    np.testing.assert_allclose(columns @ columns.T, kernel(points, points), atol=1e-6)


def test_rows_are_compared_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    points = Points(rng.normal(size=(23, 4)), np.empty((23, 0)))
    odd = odd_kernel(0.5, 1.0)
    sizes = []

    def kernel(one: Points, other: Points) -> np.ndarray:
        sizes.append(len(one.odd))
        return odd(one.odd, other.odd)

    factor = rng.normal(size=(23, 3))
    whole = kernel_product(kernel, points, points, factor)
    monkeypatch.setattr(kernels, "ROWS", 5)
    np.testing.assert_allclose(kernel_product(kernel, points, points, factor), whole, atol=1e-12)
    assert sizes == [23, 5, 5, 5, 5, 3]


def test_landmarks_are_all_rows_or_a_seeded_part():
    assert choose_landmarks(5, 5, seed=0).tolist() == [0, 1, 2, 3, 4]
    some = choose_landmarks(100, 10, seed=0)
    assert len(set(some.tolist())) == 10
    assert (np.diff(some) > 0).all()
    assert some.tolist() == choose_landmarks(100, 10, seed=0).tolist()
    assert some.tolist() != choose_landmarks(100, 10, seed=1).tolist()
