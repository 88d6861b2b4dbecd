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

from stemctx_core.kernels.compiled import compiled

if TYPE_CHECKING:
    from stemctx_core.lattice import SiteGrid

SIDE: Final = 32
SAMPLES_PER_LATTICE_CONSTANT: Final = 13
PITCH: Final = 1.0 / SAMPLES_PER_LATTICE_CONSTANT
SAMPLES: Final = SIDE * SIDE
#: Features use the disc of this radius (lattice constants); a site nearer to the border has no whole patch.
HALF_WIDTH: Final = SIDE / 2 * PITCH
_ZERO, _ONE = np.float32(0), np.float32(1)
_NEXT, _AFTER = np.uint64(1), np.uint64(2)
_MARGIN: Final = 3
#: Parts that many patches are added up in.
_PARTS: Final = 16
#: The six shortest lattice vectors in turn, in units of the basis.
_AROUND: Final = np.array([[1, 0], [0, 1], [-1, 1], [-1, 0], [0, -1], [1, -1]])
#: From u, v to the two of them that the bond is between.
_TO_CRYSTAL: Final = np.linalg.inv(np.array([[np.sqrt(3) / 2, np.sqrt(3) / 2], [-0.5, 0.5]]))
#: Pixels in one.
_CACHE_LINE: Final = 16
#: Pixels that a site is from the place that its samples are counted from; more than a patch of pixels reaches.
_NEAR: Final = 64


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


def lattice_to_pixels(grid: SiteGrid) -> NDArray[np.float64]:
    """(2, 2) matrix from u, v in lattice constants to y, x in pixels."""
    around = _AROUND @ grid.basis_px
    following = np.roll(around, -1, axis=0)
    k = int(np.argmin(np.sum(((around + following) / 3 - grid.bond_px) ** 2, axis=1)))
    matrix: NDArray[np.float64] = np.stack([around[k], following[k]], axis=1) @ _TO_CRYSTAL
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
    return _between(grid.positions_px, reach - 0.5, np.array(shape) - 0.5 - reach)


def _between(
    places: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n,) whether (n, 2) places are in a rectangle."""
    y, x = places.T
    inside: NDArray[np.bool_] = (y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[1])
    return inside


class PatchRoom:
    """Memory for the patches of a frame that is used again for the next; half of the time goes into it otherwise.

    The patches of the frame before are gone once those of another are cut.
    """

    def __init__(self) -> None:
        self._room = np.zeros((0, SAMPLES), np.float32)
        self._frame = np.zeros((0, 0), np.float32)

    def take(self, count: int) -> NDArray[np.float32]:
        """(count, SAMPLES) of it, 0 outside the disc."""
        if len(self._room) < count:
            # A few more than asked for, as the number of sites differs a little from frame to frame.
            self._room = np.zeros((count + count // 16, SAMPLES), np.float32)
        return self._room[:count]

    def frame(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """A copy of an image with `_MARGIN` more rows and columns, which are finite but mean nothing.

        Rows are an odd number of cache lines apart: else those of a frame of 2048 columns, which start at like
        addresses, push each other out of the cache.
        """
        height, length = image.shape
        lines = -(-(length + _MARGIN) // _CACHE_LINE) | 1
        if self._frame.shape != (height + _MARGIN, lines * _CACHE_LINE):
            self._frame = np.zeros((height + _MARGIN, lines * _CACHE_LINE), np.float32)
        self._frame[:height, :length] = image
        return self._frame


def extract_patches(
    image: NDArray[Any],
    grid: SiteGrid,
    only: NDArray[np.bool_] | None = None,
    room: PatchRoom | None = None,
) -> NDArray[np.float32]:
    """Cut a patch at every site: (n, SAMPLES) in the intensity units of the frame, 0 outside the disc of `HALF_WIDTH`.

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
    positions = grid.positions_px if only is None else grid.positions_px[only]
    room = room or PatchRoom()
    values = room.take(len(positions))
    offsets = np.ascontiguousarray((sample_offsets()[inside_disc()] @ matrix.T).T, np.float32)
    pitch_px = max(_pitch_px(matrix), 1e-3)
    # A box starts half a pitch before its middle, and pixel 0 half a pixel before its own.
    starts = np.ascontiguousarray(positions, np.float64) + (0.5 - pitch_px / 2)
    within = _between(starts, -offsets.min(axis=1), np.array(image.shape) - pitch_px - offsets.max(axis=1))
    _box_means(room.frame(image), image.shape, starts, within, offsets, _runs(), pitch_px, values)
    return values


@lru_cache(maxsize=1)
def _runs() -> NDArray[np.int64]:
    """(SIDE, 2) first sample of each row of a patch that is inside the disc, and the one behind the last."""
    inside = inside_disc().reshape(SIDE, SIDE)
    rows = SIDE * np.arange(SIDE)
    runs: NDArray[np.int64] = np.stack(
        [rows + inside.argmax(axis=1), rows + SIDE - inside[:, ::-1].argmax(axis=1)], axis=1
    )
    return runs


def _pitch_px(matrix: NDArray[np.float64]) -> float:
    return PITCH * float(np.sqrt(abs(np.linalg.det(matrix))))


@compiled(fastmath=True, inline="always")
def _part(first, second, pixel):  # type: ignore[no-untyped-def]  # numba infers types
    """How much of a pixel lies between two places."""
    return max(min(second, pixel + np.float32(1)) - max(first, pixel), np.float32(0))


@compiled(parallel=True, fastmath=True)
def _box_means(frame, shape, starts, within, offsets, runs, width, out):  # type: ignore[no-untyped-def]  # numba infers types
    height, length = shape
    line = frame.shape[1]
    flat = frame.reshape(frame.size)
    down = np.uint64(line)
    box, twice = np.float32(width), np.float32(2 - width)
    share = np.float32(1 / (width * width))
    taps = int(width) + 2
    for n in prange(len(starts)):
        # Single precision is enough from a place near the site.
        top, left = int(starts[n, 0]) - _NEAR, int(starts[n, 1]) - _NEAR
        y_site, x_site = np.float32(starts[n, 0] - top), np.float32(starts[n, 1] - left)
        k = 0
        if within[n] and width <= 2:
            # A box of up to two pixels touches at most three along an axis. Unsigned indices spare a test for
            # negative ones; wrapping around, they may start before the frame.
            corner = np.uint64(top * line + left)
            for row in range(len(runs)):
                back = k - runs[row, 0]
                for m in range(runs[row, 0], runs[row, 1]):
                    y, x = y_site + offsets[0, m + back], x_site + offsets[1, m + back]
                    i, j = np.int32(y), np.int32(x)
                    y_in, x_in = y - np.float32(i), x - np.float32(j)
                    y0, x0 = min(_ONE - y_in, box), min(_ONE - x_in, box)
                    y2, x2 = max(y_in - twice, _ZERO), max(x_in - twice, _ZERO)
                    y1, x1 = box - y0 - y2, box - x0 - x2
                    p = corner + np.uint64(i) * down + np.uint64(j)
                    q = p + down
                    r = q + down
                    total = y0 * (x0 * flat[p] + x1 * flat[p + _NEXT] + x2 * flat[p + _AFTER])
                    total += y1 * (x0 * flat[q] + x1 * flat[q + _NEXT] + x2 * flat[q + _AFTER])
                    total += y2 * (x0 * flat[r] + x1 * flat[r + _NEXT] + x2 * flat[r + _AFTER])
                    out[n, m] = total * share
                k += runs[row, 1] - runs[row, 0]
            continue
        for row in range(len(runs)):
            for m in range(runs[row, 0], runs[row, 1]):
                y, x = y_site + offsets[0, k] + top, x_site + offsets[1, k] + left
                total, area = np.float32(0), np.float32(0)
                for down_px in range(max(int(np.floor(y)), 0), min(int(np.floor(y)) + taps, height)):
                    high = _part(y, y + box, np.float32(down_px))
                    for across_px in range(max(int(np.floor(x)), 0), min(int(np.floor(x)) + taps, length)):
                        weight = high * _part(x, x + box, np.float32(across_px))
                        total += weight * flat[down_px * line + across_px]
                        area += weight
                out[n, m] = total / area if area > 1e-9 else np.float32(0)
                k += 1


@compiled(parallel=True)
def projected(patches, projection, out):  # type: ignore[no-untyped-def]  # numba infers types
    """Put the product of (n, samples) patches and a (samples, K) projection, float32 both, into `out`, (n, K)."""
    count = len(patches)
    for part in prange(_PARTS):
        rows = slice(part * count // _PARTS, (part + 1) * count // _PARTS)
        if rows.stop > rows.start:
            np.dot(patches[rows], projection, out[rows])


@compiled(parallel=True, fastmath=True)
def weighted_sums(patches, weights, kind):  # type: ignore[no-untyped-def]  # numba infers types
    """Sums over many patches: (_PARTS, 2, samples) float32, to be added up over the first axis without losing digits.

    Parameters
    ----------
    patches
        (n, samples) float32.
    weights
        (n,) float32 of each.
    kind
        (n,) int8 which of the two sums it goes to.
    """
    count, samples = patches.shape
    sums = np.zeros((_PARTS, 2, samples), np.float32)
    for part in prange(_PARTS):
        for n in range(part * count // _PARTS, (part + 1) * count // _PARTS):
            weight, code = weights[n], kind[n]
            if weight:
                for m in range(samples):
                    sums[part, code, m] += weight * patches[n, m]
    return sums
