"""Lattice-registered patches: what stands around a site, always in the same frame.

A patch is sampled in the crystal's own axes, u along the bond from a metal to a chalcogen column and v across it,
in steps of a fraction of the lattice constant. Rotation, pixel size and shear of the frame are thereby gone, and
the projection on features is one fixed matrix for every host.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stemctx_core.lattice import SiteGrid

SIDE: Final = 32
SAMPLES_PER_LATTICE_CONSTANT: Final = 13
PITCH: Final = 1.0 / SAMPLES_PER_LATTICE_CONSTANT
SAMPLES: Final = SIDE * SIDE
#: Features use the disc of this radius (lattice constants); a site nearer to the border has no whole patch.
HALF_WIDTH: Final = SIDE / 2 * PITCH


@lru_cache(maxsize=1)
def sample_offsets() -> NDArray[np.float64]:
    """(SAMPLES, 2) offsets u, v of the samples from the site, in lattice constants."""
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * PITCH
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


def lattice_to_pixels(grid: SiteGrid) -> NDArray[np.float64]:
    """(2, 2) matrix from u, v in lattice constants to y, x in pixels."""
    a1, a2 = grid.basis_px
    around = [a1, a2, a2 - a1, -a1, -a2, a1 - a2]
    pairs = [(around[i], around[(i + 1) % 6]) for i in range(6)]
    first, second = min(pairs, key=lambda p: float(np.linalg.norm((p[0] + p[1]) / 3 - grid.bond_px)))
    crystal = np.array([[np.sqrt(3) / 2, np.sqrt(3) / 2], [-0.5, 0.5]])
    matrix: NDArray[np.float64] = np.stack([first, second], axis=1) @ np.linalg.inv(crystal)
    return matrix


@dataclass(frozen=True)
class PatchSet:
    """Patches at sites.

    Attributes
    ----------
    values
        (n, SAMPLES) float32 in the intensity units of the frame.
    whole
        (n,) whether the disc of the patch that features use lies inside the frame.
    """

    values: NDArray[np.float32]
    whole: NDArray[np.bool_]


@dataclass(frozen=True)
class CutPatches:
    """Patches that somebody else cut, with where they are from.

    Attributes
    ----------
    patches
        (n, SIDE, SIDE) float32 in the intensity units of their frame, as `extract_patches` gives them.
    y_px, x_px
        (n,) float32 array-index coordinates of the sites in the frame.
    sublattice
        (n,) 0 metal, 1 chalcogen.
    """

    patches: NDArray[np.float32]
    y_px: NDArray[np.float32]
    x_px: NDArray[np.float32]
    sublattice: NDArray[np.integer[Any]]


def extract_patches(image: NDArray[Any], grid: SiteGrid) -> PatchSet:
    """Cut a patch at every site.

    Each sample is the mean over a box as wide as the sampling pitch, taken exactly from a summed-area table, so that
    every electron counts about once whatever the pixel size.

    Parameters
    ----------
    image
        (height, width) finite intensities.
    grid
        Sites of the frame.
    """
    height, width = image.shape
    table = np.zeros((height + 1, width + 1))
    table[1:, 1:] = np.cumsum(np.cumsum(image, axis=0, dtype=np.float64), axis=1)
    matrix = lattice_to_pixels(grid)
    offsets = sample_offsets() @ matrix.T
    pitch_px = PITCH * float(np.sqrt(abs(np.linalg.det(matrix))))
    positions = np.ascontiguousarray(grid.positions_px, np.float64)
    reach = HALF_WIDTH * np.linalg.norm(matrix, axis=1) + pitch_px / 2
    limit = np.array([height, width]) - 0.5
    whole = np.all((positions - reach >= -0.5) & (positions + reach <= limit), axis=1)
    values = np.zeros((len(positions), SAMPLES), np.float32)
    _box_means(table, positions, np.ascontiguousarray(offsets), max(pitch_px, 1e-3), values)
    return PatchSet(values, whole)


@numba.njit(fastmath=True, cache=True, inline="always")
def _integral(table, y, x):  # type: ignore[no-untyped-def]  # numba infers types
    i, j = int(y), int(x)
    fy, fx = y - i, x - j
    i1, j1 = min(i + 1, table.shape[0] - 1), min(j + 1, table.shape[1] - 1)
    upper = table[i, j] * (1 - fx) + table[i, j1] * fx
    lower = table[i1, j] * (1 - fx) + table[i1, j1] * fx
    return upper * (1 - fy) + lower * fy


@numba.njit(parallel=True, fastmath=True, cache=True)
def _box_means(table, positions, offsets, width, out):  # type: ignore[no-untyped-def]  # numba infers types
    bottom, right = table.shape[0] - 1.0, table.shape[1] - 1.0
    for n in numba.prange(len(positions)):
        for k in range(len(offsets)):
            y = positions[n, 0] + offsets[k, 0] + 0.5
            x = positions[n, 1] + offsets[k, 1] + 0.5
            y0, y1 = min(max(y - width / 2, 0.0), bottom), min(max(y + width / 2, 0.0), bottom)
            x0, x1 = min(max(x - width / 2, 0.0), right), min(max(x + width / 2, 0.0), right)
            area = (y1 - y0) * (x1 - x0)
            if area > 1e-9:
                total = (
                    _integral(table, y1, x1)
                    - _integral(table, y0, x1)
                    - _integral(table, y1, x0)
                    + _integral(table, y0, x0)
                )
                out[n, k] = total / area
