"""Patches from the pixels of a frame: the mean of the frame over the box of every sample.

Along an axis, the mean over a box that is moved over pixels is a chain of straight lines: it bends only where one end
of the box crosses from a pixel to the next, twice a pixel. So it is worked out there once, for all sites of a frame,
and a sample is interpolated between four of these knots, which is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import prange
from numpy.typing import NDArray

from stemctx_core.contrast.patches import (
    SAMPLES,
    between,
    disc_offsets,
    inside_disc,
    lattice_to_pixels,
    pitch_px,
)
from stemctx_core.kernels.compiled import compiled

if TYPE_CHECKING:
    from stemctx_core.lattice import SiteGrid

#: Samples of a disc; a multiple of `_AT_ONCE`.
DISC: Final = int(np.count_nonzero(inside_disc()))
#: Samples that are interpolated in one go. So the compiler keeps to single loads: gathered ones are slower.
_AT_ONCE: Final = 4
#: Knots that are kept at a time, at least those of one site: 16 MB.
_KNOTS: Final = 2**22
#: Numbers in a line of the cache.
_LINE: Final = 16
_ONE = np.float32(1)
_NEXT = np.uint64(1)


class FrameRoom:
    """Memory for the discs of a frame and its knots that is used again for the next; half of the time goes into it else.

    The discs of the frame before are gone once those of another are cut.
    """

    def __init__(self) -> None:
        self._discs = np.zeros((0, DISC), np.float32)
        self._knots = np.zeros((0, 0), np.float32)

    def discs(self, count: int) -> NDArray[np.float32]:
        """(count, DISC) of it."""
        if len(self._discs) < count:
            # A few more than asked for, as the number of sites differs a little from frame to frame.
            self._discs = np.empty((count + count // 16, DISC), np.float32)
        return self._discs[:count]

    def knots(self, rows: int, columns: int) -> NDArray[np.float32]:
        """(2 × rows + 1, 2 × columns) of it at least; a box that ends with the frame reads a knot behind the last.

        Rows are an odd number of lines of the cache apart: else those of a frame of 2048 columns, which start at like
        addresses, push each other out of it.
        """
        length = (-(-2 * columns // _LINE) | 1) * _LINE
        if self._knots.shape[1] != length or len(self._knots) <= 2 * rows:
            self._knots = np.zeros((2 * rows + 1, length), np.float32)
        return self._knots


def cut_discs(
    image: NDArray[Any],
    grid: SiteGrid,
    only: NDArray[np.bool_] | None = None,
    room: FrameRoom | None = None,
) -> NDArray[np.float32]:
    """Cut the disc of `HALF_WIDTH` around every site: (n, DISC) in the intensity units of the frame.

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
        Where the discs are put; memory of their own by default.
    """
    matrix = lattice_to_pixels(grid)
    positions = grid.positions_px if only is None else grid.positions_px[only]
    room = room or FrameRoom()
    values = room.discs(len(positions))
    offsets = np.ascontiguousarray((disc_offsets() @ matrix.T).T, np.float32)
    width = max(pitch_px(matrix), 1e-3)
    # A box starts half a pitch before its middle, and pixel 0 half a pixel before its own.
    starts = np.ascontiguousarray(positions, np.float64) + (0.5 - width / 2)
    frame = np.ascontiguousarray(image, np.float32)
    height, length = frame.shape
    first, last = offsets.min(axis=1), np.array(frame.shape) - width - offsets.max(axis=1)
    whole = between(starts, -first, last)
    reach_px = int(np.ceil(np.abs(offsets).max())) + 1
    # A band of a large frame at a time.
    rows = max(_KNOTS // (4 * length), 4 * reach_px)
    band = (starts[:, 0] // rows).astype(np.int64)
    for number in range(-(-height // rows)):
        mine = np.flatnonzero(whole & (band == number)) if height > rows else np.flatnonzero(whole)
        if len(mine):
            top = max(number * rows - reach_px, 0)
            bottom = min((number + 1) * rows + reach_px + int(width) + 2, height)
            knots = room.knots(bottom - top, length)
            _fill_knots(frame[top:bottom], width, knots)
            _interpolate(knots, mine, starts, offsets, top, reach_px, width, values)
    if not whole.all():
        _cut_off_means(frame, np.flatnonzero(~whole), starts, offsets, width, values)
    return values


def extract_patches(
    image: NDArray[Any], grid: SiteGrid, only: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Cut a square patch at every site: (n, SAMPLES), `cut_discs` with 0 outside the disc."""
    discs = cut_discs(image, grid, only)
    patches = np.zeros((len(discs), SAMPLES), np.float32)
    patches[:, inside_disc()] = discs
    return patches


@compiled(parallel=True, fastmath=True)
def _fill_knots(frame, width, knots):  # type: ignore[no-untyped-def]  # numba infers types
    """Put the means over boxes of a width (px) into `knots`, by where the boxes start.

    A box that starts on pixel i is knot 2i; one that ends on the border of a pixel, i.e. starts before i + 1 by the
    broken part of the width, is knot 2i + 1.
    """
    height, length = frame.shape
    pixels = int(width)
    part, share = np.float32(width - pixels), np.float32(1 / (width * width))
    for i in prange(height):
        down = np.zeros((2, length + pixels + 1), np.float32)
        for j in range(length):
            down[0, j] = part * frame[min(i + pixels, height - 1), j]
            down[1, j] = part * frame[i, j]
        # Whole pixels of both boxes; the first of the one is not in the other, nor the last.
        for k in range(pixels):
            upper, lower = min(i + k, height - 1), min(i + k + 1, height - 1)
            for j in range(length):
                down[0, j] += frame[upper, j]
                down[1, j] += frame[lower, j]
        for m in range(2):
            line, out = down[m], knots[2 * i + m]
            whole, broken = np.zeros(length + 1, np.float32), part * share
            for k in range(pixels):
                for j in range(length):
                    whole[j] += line[j + k]
            for j in range(length):
                whole[j] *= share
            for j in range(length):
                out[2 * j] = whole[j] + broken * line[j + pixels]
                out[2 * j + 1] = broken * line[j] + whole[j + 1]


@compiled(parallel=True, fastmath=True)
def _interpolate(knots, sites, starts, offsets, top, reach, width, out):  # type: ignore[no-untyped-def]  # numba infers types
    line, samples = knots.shape[1], offsets.shape[1]
    flat = knots.reshape(knots.size)
    part = np.float32(width - int(width))
    before = _ONE - part  # from knot 2i to 2i + 1
    per_first, per_second = _ONE / before, _ONE / max(part, np.float32(1e-6))
    below, two = np.int32(line), np.int32(2)
    for s in prange(len(sites)):
        n = sites[s]
        # Single precision is enough from a place near the site. Wrapping around, it may be before the frame.
        y_near, x_near = int(starts[n, 0]) - reach, int(starts[n, 1]) - reach
        y_site, x_site = np.float32(starts[n, 0] - y_near), np.float32(starts[n, 1] - x_near)
        corner = np.uint64(2 * ((y_near - top) * line + x_near))
        at = np.empty(samples, np.uint32)
        down, across = np.empty(samples, np.float32), np.empty(samples, np.float32)
        for m in range(samples):
            y, x = y_site + offsets[0, m], x_site + offsets[1, m]
            i, j = np.int32(y), np.int32(x)
            y_in, x_in = y - np.float32(i), x - np.float32(j)
            lower, right = y_in >= before, x_in >= before
            down[m] = (y_in - before) * per_second if lower else y_in * per_first
            across[m] = (x_in - before) * per_second if right else x_in * per_first
            row, column = two * i + np.int32(lower), two * j + np.int32(right)
            at[m] = np.uint32(row * below + column)
        for first in range(0, samples, _AT_ONCE):
            for m in range(first, first + _AT_ONCE):
                p = corner + np.uint64(at[m])
                q = p + np.uint64(line)
                upper, under = flat[p], flat[q]
                upper += (flat[p + _NEXT] - upper) * across[m]
                under += (flat[q + _NEXT] - under) * across[m]
                out[n, m] = upper + (under - upper) * down[m]


@compiled(fastmath=True, inline="always")
def _part(first, second, pixel):  # type: ignore[no-untyped-def]  # numba infers types
    """How much of a pixel lies between two places."""
    return max(min(second, pixel + 1) - max(first, pixel), 0.0)


@compiled(parallel=True, fastmath=True)
def _cut_off_means(frame, sites, starts, offsets, width, out):  # type: ignore[no-untyped-def]  # numba infers types
    """The same for boxes that may reach over the edge of the frame, pixel by pixel."""
    height, length = frame.shape
    taps = int(width) + 2
    for s in prange(len(sites)):
        n = sites[s]
        for m in range(offsets.shape[1]):
            y, x = starts[n, 0] + offsets[0, m], starts[n, 1] + offsets[1, m]
            i, j = int(np.floor(y)), int(np.floor(x))
            total, area = 0.0, 0.0
            for row in range(max(i, 0), min(i + taps, height)):
                high = _part(y, y + width, row)
                for column in range(max(j, 0), min(j + taps, length)):
                    weight = high * _part(x, x + width, column)
                    total += weight * frame[row, column]
                    area += weight
            out[n, m] = total / area if area > 1e-9 else 0.0
