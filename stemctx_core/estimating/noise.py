"""What is left of a frame when its mean unit cell is taken off: noise, its spectrum and its correlation.

The cell is averaged in lattice coordinates, which follow drift and warp; what varies over several cells is taken off
too, and columns that stand out of their sublattice are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from stemctx_core.estimating.host_lattice import HostLattice
from stemctx_core.judging.view import LEAST_COHERENCE

#: Bins along each side of the mean cell, and the width (Å) of what counts as slow.
_BINS: Final = 36
_SLOW_ANGSTROM: Final = 8.0
#: Around a column that stands out nothing is counted within this (Å).
_LEFT_OUT_ANGSTROM: Final = 1.8


@dataclass(frozen=True)
class Residual:
    """A frame without its mean cell, in units of the brighter host column.

    Attributes
    ----------
    values
        (height, width) float32, 0 where it does not count.
    counted
        (height, width) where it does.
    cell
        (bins, bins) the mean cell over its own mean.
    slow_sd
        Standard deviation of what varies over several cells.
    pixel_size_angstrom
        By the lattice.
    """

    values: NDArray[np.float32]
    counted: NDArray[np.bool_]
    cell: NDArray[np.float32]
    slow_sd: float
    pixel_size_angstrom: float

    @property
    def variance(self) -> float:
        """Of a pixel."""
        return float(np.mean(self.values[self.counted] ** 2, dtype=np.float64))

    def correlation(self, down: int, across: int) -> float:
        """Of pixels so many rows and columns apart."""
        here = (slice(None, -down or None), slice(None, -across or None))
        there = (slice(down, None), slice(across, None))
        both = self.counted[here] & self.counted[there]
        product = self.values[here][both] * self.values[there][both]
        return float(product.mean(dtype=np.float64)) / max(self.variance, 1e-12)


def residual(lattice: HostLattice) -> Residual:
    """Take the mean cell off a frame."""
    image, grid = lattice.image, lattice.grid
    assert grid.field is not None
    px = grid.pixel_size_angstrom
    image = (image - np.float32(image.mean())) / np.float32(lattice.unit)
    y, x = np.indices(image.shape, np.float64).reshape(2, -1)
    places = np.stack([y, x], axis=1)
    cell_at = grid.field.lattice_coordinates(places) % 1.0 * _BINS - 0.5
    good = (grid.field.coherence_at(places) > LEAST_COHERENCE).reshape(image.shape)
    good &= _away_from_odd(lattice, places).reshape(image.shape)
    index = np.floor(cell_at + 0.5).astype(np.int64) % _BINS
    flat = index[:, 0] * _BINS + index[:, 1]
    slow = np.zeros_like(image)
    for _ in range(2):
        kept = good.ravel()
        level = (image - slow).ravel()
        count = np.bincount(flat[kept], minlength=_BINS**2)
        total = np.bincount(flat[kept], level[kept], _BINS**2)
        mean = total.sum() / max(count.sum(), 1)
        cell = np.where(count > 0, total / np.maximum(count, 1), mean).reshape(_BINS, _BINS)
        fitted = ndimage.map_coordinates(cell, cell_at.T, order=1, mode="grid-wrap").reshape(image.shape)
        left = np.where(good, image - fitted, 0).astype(np.float32)
        mass = np.maximum(_smooth(good.astype(np.float32), px), np.float32(1e-3))
        slow = (_smooth(left, px) / mass).astype(np.float32)
    values = np.where(good, left - slow, 0).astype(np.float32)
    return Residual(values, good, (cell - cell.mean()).astype(np.float32), float(slow[good].std()), px)


def _smooth(values: NDArray[np.float32], px: float) -> NDArray[np.float32]:
    """About a Gaussian average: two box averages, which cost the same whatever their width."""
    width = max(1, round(np.sqrt(6) * _SLOW_ANGSTROM / px))
    once = ndimage.uniform_filter(values, width, mode="nearest")
    twice: NDArray[np.float32] = ndimage.uniform_filter(once, width, mode="nearest")
    return twice


def _away_from_odd(lattice: HostLattice, places: NDArray[np.float64]) -> NDArray[np.bool_]:
    odd = lattice.positions_px[~lattice.host_like]
    if not len(odd):
        return np.ones(len(places), bool)
    distance, _ = cKDTree(odd).query(
        places, distance_upper_bound=_LEFT_OUT_ANGSTROM / lattice.grid.pixel_size_angstrom
    )
    away: NDArray[np.bool_] = ~np.isfinite(distance)
    return away
