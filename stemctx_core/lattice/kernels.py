"""The loops over pixels and sites that finding a lattice spends its time in, compiled."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# numba infers the types.

from __future__ import annotations

import math

import numpy as np
from numba import prange

from stemctx_core.kernels.compiled import compiled

#: Parts of a frame that are counted one by one, so that cores share them.
_PARTS = 16


@compiled(fastmath=True)
def block_means(image, block):
    """Mean of every whole block of pixels: (rows, columns) float32.

    Parameters
    ----------
    image
        (height, width) float32.
    block
        Side of a block (px).
    """
    rows, columns = image.shape[0] // block, image.shape[1] // block
    means = np.empty((rows, columns), np.float32)
    for i in range(rows):
        line = np.zeros(columns * block, np.float32)
        for y in range(i * block, (i + 1) * block):
            for x in range(columns * block):
                line[x] += image[y, x]
        for j in range(columns):
            total = np.float32(0)
            for x in range(j * block, (j + 1) * block):
                total += line[x]
            means[i, j] = total / np.float32(block * block)
    return means


@compiled(parallel=True, fastmath=True)
def demodulate(image, level, block, comb_y, comb_x, left, part):
    """Mean over blocks of the image, less what varies slowly, times a comb for each of a few Bragg peaks.

    Parameters
    ----------
    image
        (height, width) float32.
    level
        (rows, columns) float32 what varies slowly, on the blocks.
    block
        Side of a block (px).
    comb_y, comb_x
        (peaks, rows × block) and (peaks, columns × block) complex64: exp(-2πi g·r) along each axis.
    left, part
        (columns × block) uint32 block whose middle is left of each pixel, and float32 share of the next one.

    Returns
    -------
    numpy.ndarray
        (peaks, rows, columns) complex64.
    """
    rows, columns = level.shape
    peaks, width = len(comb_x), columns * block
    blocks = np.empty((peaks, rows, columns), np.complex64)
    for i in prange(rows):
        real = np.zeros((peaks, width), np.float32)
        imaginary = np.zeros((peaks, width), np.float32)
        upper = np.empty(columns, np.float32)
        line = np.empty(width, np.float32)
        for y in range(i * block, (i + 1) * block):
            at = min(max((y + 0.5) / block - 0.5, 0.0), rows - 1.0)
            above = min(int(at), rows - 2)
            share = np.float32(at - above)
            for j in range(columns):
                upper[j] = level[above, j] * (np.float32(1) - share) + level[above + 1, j] * share
            for x in range(width):
                low = left[x]
                line[x] = image[y, x] - (upper[low] + (upper[low + np.uint32(1)] - upper[low]) * part[x])
            for k in range(peaks):
                cosine, sine = comb_y[k, y].real, comb_y[k, y].imag
                for x in range(width):
                    real[k, x] += line[x] * cosine
                    imaginary[k, x] += line[x] * sine
        for k in range(peaks):
            for j in range(columns):
                total_real, total_imaginary = np.float32(0), np.float32(0)
                for x in range(j * block, (j + 1) * block):
                    cosine, sine = comb_x[k, x].real, comb_x[k, x].imag
                    total_real += real[k, x] * cosine - imaginary[k, x] * sine
                    total_imaginary += real[k, x] * sine + imaginary[k, x] * cosine
                blocks[k, i, j] = complex(total_real, total_imaginary) / (block * block)
    return blocks


@compiled(fastmath=True, inline="always")
def _place(at, count):
    """Block below a coordinate on blocks, and the share of the next; constant beyond the edge."""
    inside = min(max(at, 0.0), count - 1.0)
    low = min(int(inside), max(count - 2, 0))
    return low, inside - low


@compiled(fastmath=True, inline="always")
def _between(field, i, fy, j, fx):
    """Bilinear value of a field on blocks."""
    i1, j1 = min(i + 1, field.shape[0] - 1), min(j + 1, field.shape[1] - 1)
    upper = field[i, j] * (1 - fx) + field[i, j1] * fx
    lower = field[i1, j] * (1 - fx) + field[i1, j1] * fx
    return upper * (1 - fy) + lower * fy


@compiled(parallel=True, fastmath=True)
def sample(field, block, points):
    """Bilinear values (n,) float64 of a field on blocks at (n, 2) points (px), constant beyond its edge."""
    values = np.empty(len(points))
    for n in prange(len(points)):
        i, fy = _place((points[n, 0] + 0.5) / block - 0.5, field.shape[0])
        j, fx = _place((points[n, 1] + 0.5) / block - 0.5, field.shape[1])
        values[n] = _between(field, i, fy, j, fx)
    return values


@compiled(parallel=True, fastmath=True)
def follow_points(coordinates, inverse, phase, block, bottom, right, rounds):
    """Points (px) of lattice coordinates by fixed point.

    Parameters
    ----------
    coordinates
        (n, 2) in units of the direct lattice vectors.
    inverse
        (2, 2) direct lattice vectors, rows y, x in pixels.
    phase
        (2, rows, columns) radians on blocks.
    bottom, right
        Last row and column of the frame; beyond them the phase stays as it is there.
    rounds
        Steps at most; no further ones are made where the last moved by less than a millionth of a pixel.
    """
    places = np.empty((len(coordinates), 2))
    for n in prange(len(coordinates)):
        u, v = coordinates[n, 0], coordinates[n, 1]
        y = u * inverse[0, 0] + v * inverse[1, 0]
        x = u * inverse[0, 1] + v * inverse[1, 1]
        for _ in range(rounds):
            i, fy = _place((min(max(y, 0.0), bottom) + 0.5) / block - 0.5, phase.shape[1])
            j, fx = _place((min(max(x, 0.0), right) + 0.5) / block - 0.5, phase.shape[2])
            du = u - _between(phase[0], i, fy, j, fx) / (2 * math.pi)
            dv = v - _between(phase[1], i, fy, j, fx) / (2 * math.pi)
            next_y = du * inverse[0, 0] + dv * inverse[1, 0]
            next_x = du * inverse[0, 1] + dv * inverse[1, 1]
            moved = abs(next_y - y) + abs(next_x - x)
            y, x = next_y, next_x
            if moved < 1e-6:
                break
        places[n, 0], places[n, 1] = y, x
    return places


@compiled(parallel=True, fastmath=True)
def fold_pixels(image, stride, vectors, phase, coherence, block, least, bins):
    """Count pixels, and sum them and their squares, by where they lie in the unit cell.

    Parameters
    ----------
    image
        (height, width) float32.
    stride
        Only every so many rows and columns are taken.
    vectors
        (2, 2) Bragg vectors, rows y, x in cycles per pixel.
    phase, coherence
        (2, rows, columns) and (rows, columns) on blocks.
    least
        Pixels of less coherence are left out.
    bins
        Along each side of the cell.

    Returns
    -------
    numpy.ndarray
        (parts of the frame, 3, bins, bins) float64, to be added up: count, sum, sum of squares.
    """
    parts = np.zeros((_PARTS, 3, bins, bins))
    height, columns = len(range(stride // 2, image.shape[0], stride)), coherence.shape[1]
    turn = 1 / (2 * math.pi)
    for part in prange(_PARTS):
        # The fields at a row of pixels, on blocks, so that only what differs from pixel to pixel is left to be done.
        line = np.empty((3, columns + 1))
        for row in range(part * height // _PARTS, (part + 1) * height // _PARTS):
            y = stride // 2 + row * stride
            i, fy = _place((y + 0.5) / block - 0.5, coherence.shape[0])
            below = min(i + 1, coherence.shape[0] - 1)
            for j in range(columns):
                line[0, j] = (phase[0, i, j] * (1 - fy) + phase[0, below, j] * fy) * turn + y * vectors[0, 0]
                line[1, j] = (phase[1, i, j] * (1 - fy) + phase[1, below, j] * fy) * turn + y * vectors[1, 0]
                line[2, j] = coherence[i, j] * (1 - fy) + coherence[below, j] * fy
            for k in range(3):
                line[k, columns] = line[k, columns - 1]
            for x in range(stride // 2, image.shape[1], stride):
                j, fx = _place((x + 0.5) / block - 0.5, columns)
                if line[2, j] + (line[2, j + 1] - line[2, j]) * fx <= least:
                    continue
                u = x * vectors[0, 1] + line[0, j] + (line[0, j + 1] - line[0, j]) * fx
                v = x * vectors[1, 1] + line[1, j] + (line[1, j + 1] - line[1, j]) * fx
                a, b = int((u - math.floor(u)) * bins), int((v - math.floor(v)) * bins)
                a, b = 0 if a == bins else a, 0 if b == bins else b
                value = image[y, x]
                parts[part, 0, a, b] += 1
                parts[part, 1, a, b] += value
                parts[part, 2, a, b] += value * value
    return parts
