"""Lattice-registered patches: what stands around a site, always in the same frame. `cutting` takes them from a frame.

A patch is sampled in the crystal's own axes, u along the bond from a metal to a chalcogen column and v across it,
in steps of a fraction of the lattice constant. Rotation, pixel size and shear of the frame are thereby gone, and
the projection on features is one fixed matrix for every host.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

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
#: The six shortest lattice vectors in turn, in units of the basis.
_AROUND: Final = np.array([[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]])
_FOLLOWING: Final = np.roll(_AROUND, -1, axis=0)
#: From u, v to the two of them that the bond is between.
_TO_CRYSTAL: Final = np.linalg.inv(np.array([[np.sqrt(3) / 2, np.sqrt(3) / 2], [-0.5, 0.5]]))


@lru_cache(maxsize=1)
def sample_offsets() -> NDArray[np.float64]:
    """(SAMPLES, 2) offsets u, v of the samples from the site, in lattice constants."""
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * PITCH
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


@lru_cache(maxsize=1)
def inside_disc() -> NDArray[np.bool_]:
    """(SAMPLES,) the samples that features use."""
    inside: NDArray[np.bool_] = np.linalg.norm(sample_offsets(), axis=1) <= HALF_WIDTH
    return inside


@lru_cache(maxsize=1)
def disc_offsets() -> NDArray[np.float64]:
    """(DISC, 2) `sample_offsets` of the samples that features use."""
    return sample_offsets()[inside_disc()]


def lattice_to_pixels(grid: SiteGrid) -> NDArray[np.float64]:
    """(2, 2) matrix from u, v in lattice constants to y, x in pixels."""
    around, following = _AROUND @ grid.basis_px, _FOLLOWING @ grid.basis_px
    k = int(np.argmin(np.sum(((around + following) / 3 - grid.bond_px) ** 2, axis=1)))
    matrix: NDArray[np.float64] = np.stack([around[k], following[k]], axis=1) @ _TO_CRYSTAL
    return matrix


@dataclass(frozen=True)
class CutPatches:
    """Patches that somebody else cut, with where they are from.

    Attributes
    ----------
    patches
        (n, SIDE, SIDE) float32 in the intensity units of their frame, as `stemctx_core.contrast.cutting.extract_patches` gives them.
    y_px, x_px
        (n,) float32 array-index coordinates of the sites in the frame.
    sublattice
        (n,) 0 metal, 1 chalcogen.
    """

    patches: NDArray[np.float32]
    y_px: NDArray[np.float32]
    x_px: NDArray[np.float32]
    sublattice: NDArray[np.integer[Any]]


def whole_patches(shape: tuple[int, ...], grid: SiteGrid) -> NDArray[np.bool_]:
    """(n,) whether the disc of a site's patch that features use lies inside a frame of this shape."""
    matrix = lattice_to_pixels(grid)
    reach = HALF_WIDTH * np.linalg.norm(matrix, axis=1) + pitch_px(matrix) / 2
    return between(grid.positions_px, reach - 0.5, np.array(shape) - 0.5 - reach)


def between(
    places: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,) whether (n, 2) places are in a rectangle."""
    y, x = places.T
    inside: NDArray[np.bool_] = (y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[1])
    return inside


def pitch_px(matrix: NDArray[np.float64]) -> float:
    """Sampling pitch of patches in pixels, for a matrix of `lattice_to_pixels`."""
    return PITCH * float(np.sqrt(abs(np.linalg.det(matrix))))
