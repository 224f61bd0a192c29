"""Power laws: what was planted is found, no bound is crossed, and no other law fits better."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from pairrank.evaluation.power_law import EXPONENTS, fit_power_laws

SIZES = np.array([200, 400, 800, 1600, 3200.0])


@pytest.mark.parametrize(
    ("floor", "scale", "exponent"), [(0.62, 3, 0.4), (0.9, 1, 0.2), (0.0, 2, 0.1), (0.5, 50, 1)]
)
def test_a_planted_law_is_found(floor: float, scale: float, exponent: float):
    laws = fit_power_laws(SIZES, [floor + scale * SIZES**-exponent])
    assert laws.floor[0] == pytest.approx(floor, abs=1e-4)
    assert laws.exponent[0] == pytest.approx(exponent, rel=1e-4)
    assert laws.at(57_477)[0] == pytest.approx(floor + scale * 57_477**-exponent, abs=1e-5)
    step = 1e-4
    slope = floor + scale * (800 * 2**step) ** -exponent - (floor + scale * (800 * 2**-step) ** -exponent)
    assert laws.per_doubling(800)[0] == pytest.approx(slope / (2 * step), rel=1e-3)


def test_no_law_fits_better_than_the_one_of_scipy():
    """Weighted least squares by a general solver from several starts, on noisy losses."""
    rng, roots = np.random.default_rng(0), np.sqrt(np.arange(1, 6) / 5)
    losses = 0.7 + 3 * SIZES**-0.4 + 0.004 * rng.normal(size=(12, 5))
    laws = fit_power_laws(SIZES, losses, 0.65)
    for row, found in zip(losses, np.column_stack([laws.at(size) for size in SIZES]), strict=True):

        def errors(p, row=row):
            return roots * (p[0] + p[1] * (SIZES / SIZES[-1]) ** -p[2] - row)

        bounds = ([0.65, 0, EXPONENTS[0]], [9, 9, EXPONENTS[1]])
        best = min(least_squares(errors, [0.7, 0.2, start], bounds=bounds).cost for start in (0.1, 0.4, 1.5))
        assert (roots * (found - row) ** 2 * roots).sum() <= 2 * best * (1 + 1e-4) + 1e-12


def test_floor_and_scale_stay_within_their_bounds():
    rising, steep = 1.0 + np.arange(5) * 0.01, 1.1 - 0.02 * np.arange(5)
    laws = fit_power_laws(SIZES, [rising, steep, np.full(5, 0.4)], 0.5)
    assert (laws.floor >= 0.5).all()
    assert (laws.scale >= 0).all()
    assert laws.scale[0] == 0
    assert laws.floor[0] == pytest.approx(np.average(rising, weights=np.arange(1, 6)))
    assert laws.floor[2] == 0.5
