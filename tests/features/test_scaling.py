"""One scaling for all penalised columns: weighted mean, weighted spread, and a bound."""

import numpy as np

from pairrank.features.scaling import fit_scaling


def test_scaling_is_by_the_weighted_mean_and_spread_and_leaves_odd_signs_alone():
    x = np.array([[0.0, 5.0], [3.0, 5.0]])
    even = fit_scaling(x, np.array([2.0, 1.0]), 3.0, odd=False)
    # Mean (0 + 0 + 3) / 3, mean square of (-1, -1, 2) is 2; the second column is constant.
    np.testing.assert_allclose(even(x), [[-1 / np.sqrt(2), 0], [2 / np.sqrt(2), 0]])
    odd = fit_scaling(x, np.array([2.0, 1.0]), 1.5, odd=True)
    np.testing.assert_allclose(odd(x), [[0, 1], [1.5, 1]])
    np.testing.assert_array_equal(odd(-x), -odd(x))


def test_no_rows_leave_columns_as_they_are_but_for_the_bound():
    scaling = fit_scaling(np.empty((0, 2)), np.empty(0), 3.0)
    np.testing.assert_array_equal(scaling(np.array([[1.0, -9.0]])), [[1.0, -3.0]])


def test_a_column_that_is_constant_but_for_rounding_is_not_magnified():
    x = np.array([[0.1], [0.1 + 1e-12]])
    assert np.abs(fit_scaling(x, np.ones(2), 3.0)(x)).max() < 1e-9
