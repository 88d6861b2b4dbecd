"""Lattice-registered patches: what stands around a site, always in the same frame.

A patch is sampled in the crystal's own axes, u along the bond from a metal to a chalcogen column and v across it,
in steps of a fraction of the lattice constant. Rotation, pixel size and shear of the frame are thereby gone, and
the projection on features is one fixed matrix for every host.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import prange
from numpy.typing import NDArray

from stemctx_core.compiled import compiled

if TYPE_CHECKING:
    from stemctx_core.lattice import SiteGrid

SIDE: Final = 32
SAMPLES_PER_LATTICE_CONSTANT: Final = 13
PITCH: Final = 1.0 / SAMPLES_PER_LATTICE_CONSTANT
SAMPLES: Final = SIDE * SIDE
#: Features use the disc of this radius (lattice constants); a site nearer to the border has no whole patch.
HALF_WIDTH: Final = SIDE / 2 * PITCH
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_NEXT, _AFTER = np.uint32(1), np.uint32(2)


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


def whole_patches(shape: tuple[int, ...], grid: SiteGrid) -> NDArray[np.bool_]:
    """(n,) whether the disc of a site's patch that features use lies inside a frame of this shape."""
    matrix = lattice_to_pixels(grid)
    reach = HALF_WIDTH * np.linalg.norm(matrix, axis=1) + _pitch_px(matrix) / 2
    limit = np.array(shape) - 0.5
    whole: NDArray[np.bool_] = np.all(
        (grid.positions_px - reach >= -0.5) & (grid.positions_px + reach <= limit), axis=1
    )
    return whole


class PatchRoom:
    """Memory for the patches of a frame that is used again for the next; half of the time goes into it otherwise.

    The patches of the frame before are gone once those of another are cut.
    """

    def __init__(self) -> None:
        self._room = np.empty((0, SAMPLES), np.float32)

    def take(self, count: int) -> NDArray[np.float32]:
        """(count, SAMPLES) of it."""
        if len(self._room) < count:
            # A few more than asked for, as the number of sites differs a little from frame to frame.
            self._room = np.empty((count + count // 16, SAMPLES), np.float32)
        return self._room[:count]


def extract_patches(
    image: NDArray[Any],
    grid: SiteGrid,
    only: NDArray[np.bool_] | None = None,
    room: PatchRoom | None = None,
) -> NDArray[np.float32]:
    """Cut a patch at every site: (n, SAMPLES) in the intensity units of the frame.

    Each sample is the mean over a box as wide as the sampling pitch, pixels that it cuts counting with the part
    inside, so that every electron counts about once whatever the pixel size. Beyond the frame's edge it is the mean
    over what is inside, and 0 where nothing is.

    Parameters
    ----------
    image
        (height, width) finite intensities.
    grid
        Sites of the frame.
    only
        (sites,) at which of them; all by default.
    room
        Where the patches are put; memory of their own by default.
    """
    matrix = lattice_to_pixels(grid)
    offsets = sample_offsets() @ matrix.T
    positions = grid.positions_px if only is None else grid.positions_px[only]
    values = (room or PatchRoom()).take(len(positions))
    _box_means(
        np.ascontiguousarray(image, np.float32),
        np.ascontiguousarray(positions, np.float64),
        np.ascontiguousarray(offsets.T, np.float32),
        max(_pitch_px(matrix), 1e-3),
        values,
    )
    return values


def _pitch_px(matrix: NDArray[np.float64]) -> float:
    return PITCH * float(np.sqrt(abs(np.linalg.det(matrix))))


@compiled(fastmath=True, inline="always")
def _part(first, second, pixel):  # type: ignore[no-untyped-def]  # numba infers types
    """How much of a pixel lies between two places."""
    return max(min(second, pixel + np.float32(1)) - max(first, pixel), np.float32(0))


@compiled(parallel=True, fastmath=True)
def _box_means(image, positions, offsets, width, out):  # type: ignore[no-untyped-def]  # numba infers types
    height, length = image.shape
    count = offsets.shape[1]
    # Single precision is enough from a place near the site, and unsigned indices spare a test for negative ones.
    reach = int(np.abs(offsets).max() + width) + 2
    box = np.float32(width)
    # A box of up to two pixels touches at most three along an axis.
    taps = min(max(int(width) + 2, 3), height, length)
    high, wide = min(2 * reach + 2 + taps, height), min(2 * reach + 2 + taps, length)
    line = np.uint32(wide)
    for n in prange(len(positions)):
        top = int(np.floor(positions[n, 0])) - reach
        left = int(np.floor(positions[n, 1])) - reach
        # The site's surroundings go into a small array of their own: rows of a large frame push each other out of the
        # cache, as they start at like addresses.
        row, column = min(max(top, 0), height - high), min(max(left, 0), length - wide)
        flat = np.empty(high * wide, np.float32)
        for i in range(high):
            for j in range(wide):
                flat[i * wide + j] = image[row + i, column + j]
        y_site = np.float32(positions[n, 0] - top + 0.5 - width / 2)
        x_site = np.float32(positions[n, 1] - left + 0.5 - width / 2)
        y_box, x_box = np.empty(count, np.float32), np.empty(count, np.float32)
        first = np.empty(count, np.uint32)
        for k in range(count):
            y, x = y_site + offsets[0, k], x_site + offsets[1, k]
            i = min(max(int(y) + top, 0), height - taps)
            j = min(max(int(x) + left, 0), length - taps)
            y_box[k], x_box[k] = y - np.float32(i - top), x - np.float32(j - left)
            first[k] = np.uint32(i - row) * line + np.uint32(j - column)
        if taps == 3:
            for k in range(count):
                y, x = y_box[k], x_box[k]
                y0, y1, y2 = _part(y, y + box, _ZERO), _part(y, y + box, _ONE), _part(y, y + box, _TWO)
                x0, x1, x2 = _part(x, x + box, _ZERO), _part(x, x + box, _ONE), _part(x, x + box, _TWO)
                p, q = first[k], first[k] + line
                r = q + line
                total = y0 * (x0 * flat[p] + x1 * flat[p + _NEXT] + x2 * flat[p + _AFTER])
                total += y1 * (x0 * flat[q] + x1 * flat[q + _NEXT] + x2 * flat[q + _AFTER])
                total += y2 * (x0 * flat[r] + x1 * flat[r + _NEXT] + x2 * flat[r + _AFTER])
                area = (y0 + y1 + y2) * (x0 + x1 + x2)
                out[n, k] = total / area if area > 1e-9 else np.float32(0)
            continue
        for k in range(count):
            total, area = np.float32(0), np.float32(0)
            for a in range(taps):
                down = _part(y_box[k], y_box[k] + box, np.float32(a))
                for b in range(taps):
                    weight = down * _part(x_box[k], x_box[k] + box, np.float32(b))
                    total += weight * flat[first[k] + np.uint32(a) * line + np.uint32(b)]
                    area += weight
            out[n, k] = total / area if area > 1e-9 else 0.0
