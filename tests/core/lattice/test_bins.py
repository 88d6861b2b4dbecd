"""The loops over the bins of a spectrum do what SciPy and NumPy do more slowly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from stemctx_core.lattice import bin_kernels


@pytest.fixture
def power() -> NDArray[np.float32]:
    return np.random.default_rng(0).exponential(1.0, (61, 47)).astype(np.float32)


@pytest.fixture
def frequency() -> NDArray[np.float64]:
    return np.hypot(np.linspace(-0.5, 0.5, 61)[:, None], np.linspace(-0.4, 0.4, 47))


@pytest.mark.parametrize("sigma", [0.7, 1.4, 9.0])
def test_averages_are_those_of_scipy(power: NDArray[np.float32], sigma: float) -> None:
    reach = int(3 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    expected = ndimage.gaussian_filter(power, sigma, truncate=3)
    np.testing.assert_allclose(bin_kernels.smoothed(power, weights, weights), expected, rtol=2e-5)


def test_levels_are_quantiles_of_the_counted_bins_of_each_ring(
    power: NDArray[np.float32], frequency: NDArray[np.float64]
) -> None:
    counted = power > 0.2
    per_ring, rings = 10 / 0.55, 12
    found = bin_kernels.levels(power, frequency, counted, per_ring, rings, 0.3)
    ring = np.minimum((frequency * per_ring).astype(int), rings - 1)
    for k in range(rings):
        here = power[counted & (ring == k)]
        if len(here):
            assert found[k] == pytest.approx(np.quantile(here.astype(np.float64), 0.3), rel=1e-6)
        else:
            assert np.isnan(found[k])


def test_noise_is_interpolated_between_the_middles_of_rings(
    power: NDArray[np.float32], frequency: NDArray[np.float64]
) -> None:
    log_noise = np.random.default_rng(1).normal(0, 1, 12)
    per_ring = 12 / 0.65
    noise = np.exp(np.interp(frequency, (np.arange(12) + 0.5) / per_ring, log_noise))
    np.testing.assert_allclose(
        bin_kernels.over_noise(power, frequency, per_ring, log_noise), power / noise, rtol=1e-5
    )


def test_summits_are_local_maxima_of_the_right_half(
    power: NDArray[np.float32], frequency: NDArray[np.float64]
) -> None:
    found = bin_kernels.summits(power, frequency, 0.1, 0.4, 1.0, 2, 1, 23)
    highest = power == ndimage.maximum_filter(power, (5, 3))
    chosen = highest & (frequency >= 0.1) & (frequency <= 0.4) & (power > 1.0)
    chosen[:, :23] = False
    assert len(found) > 10
    np.testing.assert_array_equal(found, np.argwhere(chosen))


def test_a_summit_between_bins_is_that_of_a_parabola_and_edges_stay() -> None:
    y, x = np.mgrid[:9, :9]
    field = np.exp(-0.3 * (y - 4.3) ** 2 - 0.2 * (x - 3.8) ** 2).astype(np.float32)
    np.testing.assert_allclose(bin_kernels.between_bins(field, np.array([[4, 4]])), [[4.3, 3.8]], atol=1e-4)
    np.testing.assert_allclose(bin_kernels.between_bins(field, np.array([[0, 4]]))[0, 0], 0.0)


def test_the_strongest_within_edges(power: NDArray[np.float32]) -> None:
    part = power[5:12, 40:]
    value, row, column = bin_kernels.strongest_within(power, 5, 11, 40, 99)
    assert value == part.max()
    assert power[row, column] == value
    assert bin_kernels.strongest_within(power, 70, 80, 0, 5)[0] == 0
