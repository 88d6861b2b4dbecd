"""The loops over pixels and sites that finding a lattice spends its time in, compiled."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, assignment"
# numba infers the types.

from __future__ import annotations

import math

import numpy as np
from numba import prange

from stemctx_core.kernels.compiled import PARTS, compiled
from stemctx_core.kernels.small import solved


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
    across = np.empty((peaks, 2, width), np.float32)
    for k in range(peaks):
        for x in range(width):
            across[k, 0, x], across[k, 1, x] = comb_x[k, x].real, comb_x[k, x].imag
    for i in prange(rows):
        real = np.zeros((peaks, width), np.float32)
        imaginary = np.zeros((peaks, width), np.float32)
        # What varies slowly on the row of blocks above, on this one and on that below; in between it is linear.
        levels = np.empty((3, width), np.float32)
        for m in range(3):
            near = level[min(max(i - 1 + m, 0), rows - 1)]
            for x in range(width):
                low = left[x]
                levels[m, x] = near[low] + (near[low + np.uint32(1)] - near[low]) * part[x]
        line = np.empty(width, np.float32)
        for y in range(i * block, (i + 1) * block):
            at = (y + 0.5) / block + 0.5 - i
            upper, lower, row, share = levels[int(at)], levels[int(at) + 1], image[y], np.float32(at - int(at))
            for x in range(width):
                line[x] = row[x] - (upper[x] + (lower[x] - upper[x]) * share)
            for k in range(peaks):
                cosine, sine = comb_y[k, y].real, comb_y[k, y].imag
                first, second = real[k], imaginary[k]
                for x in range(width):
                    first[x] += line[x] * cosine
                    second[x] += line[x] * sine
        for k in range(peaks):
            first, second = real[k], imaginary[k]
            for x in range(width):
                once, other = first[x], second[x]
                first[x] = once * across[k, 0, x] - other * across[k, 1, x]
                second[x] = once * across[k, 1, x] + other * across[k, 0, x]
            for j in range(columns):
                total_real, total_imaginary = np.float32(0), np.float32(0)
                for x in range(j * block, (j + 1) * block):
                    total_real += first[x]
                    total_imaginary += second[x]
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


@compiled(fastmath=True)
def sample(field, block, points):
    """Bilinear values (n,) float64 of a field on blocks at (n, 2) points (px), constant beyond its edge."""
    values = np.empty(len(points))
    for n in range(len(points)):
        i, fy = _place((points[n, 0] + 0.5) / block - 0.5, field.shape[0])
        j, fx = _place((points[n, 1] + 0.5) / block - 0.5, field.shape[1])
        values[n] = _between(field, i, fy, j, fx)
    return values


@compiled()
def cells_within(low, high, inverse, first, reach, height, width):
    """(n, 2) whole lattice coordinates of the cells that a perfect lattice has in a frame or near it, in rows.

    Parameters
    ----------
    low, high
        (2,) least and greatest coordinates that are looked at.
    inverse
        (2, 2) from lattice coordinates to y, x in pixels.
    first
        (2,) lattice coordinates of the first pixel.
    reach
        How far (px) a cell may be from the frame.
    """
    rows, columns = int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1
    cells = np.empty((rows * columns, 2))
    count = 0
    for i in range(rows):
        u = low[0] + i
        for j in range(columns):
            v = low[1] + j
            y = inverse[0, 0] * (u - first[0]) + inverse[0, 1] * (v - first[1])
            x = inverse[1, 0] * (u - first[0]) + inverse[1, 1] * (v - first[1])
            if -reach < y < height + reach and -reach < x < width + reach:
                cells[count, 0], cells[count, 1] = u, v
                count += 1
    return cells[:count].copy()


@compiled(fastmath=True, inline="always")
def _followed(u, v, inverse, phase, block, bottom, right, rounds):
    """Point y, x (px) of a lattice coordinate by fixed point."""
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
    return y, x


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
        places[n] = _followed(u, v, inverse, phase, block, bottom, right, rounds)
    return places


@compiled(parallel=True, fastmath=True)
def sites_within(cells, points, inverse, phase, block, bottom, right, rounds, edge):
    """Sites of some cells that are inside a frame.

    Parameters
    ----------
    cells
        (n, 2) whole lattice coordinates.
    points
        (2, 2) lattice coordinates of the two sites in a cell.
    inverse, phase, block, bottom, right, rounds
        As of `follow_points`.
    edge
        How far inside (px) a site must be.

    Returns
    -------
    places
        (m, 2) y, x in pixels: the first site of all cells, then the second.
    which
        (m,) row of the cell, counted on for the second site.
    """
    count = len(cells)
    places, inside = np.empty((2 * count, 2)), np.empty(2 * count, np.bool_)
    for n in prange(2 * count):
        cell, point = cells[n % count], points[n // count]
        u, v = cell[0] + point[0], cell[1] + point[1]
        y, x = _followed(u, v, inverse, phase, block, bottom, right, rounds)
        places[n, 0], places[n, 1] = y, x
        inside[n] = edge <= y <= bottom - edge and edge <= x <= right - edge
    found = 0
    which = np.empty(2 * count, np.int64)
    for n in range(2 * count):
        if inside[n]:
            places[found, 0], places[found, 1], which[found] = places[n, 0], places[n, 1], n
            found += 1
    return places[:found].copy(), which[:found].copy()


@compiled()
def plane(phase, weight, block):
    """(3, 2) weighted least-squares plane through both phases: level, and slopes down and across a pixel.

    Parameters
    ----------
    phase
        (2, rows, columns).
    weight
        (rows, columns); it may be 0, but not everywhere.
    block
        Side of a block (px); the level is that in the middle.
    """
    rows, columns = weight.shape
    normal, right, place = np.zeros((3, 3)), np.zeros((3, 2)), np.ones(3)
    for i in range(rows):
        place[1] = (i - (rows - 1) / 2) * block
        for j in range(columns):
            place[2] = (j - (columns - 1) / 2) * block
            for a in range(3):
                part = weight[i, j] * place[a]
                for b in range(3):
                    normal[a, b] += part * place[b]
                for k in range(2):
                    right[a, k] += part * phase[k, i, j]
    return solved(normal, right)


@compiled(parallel=True, fastmath=True)
def fold_pixels(image, stride, vectors, phase, coherence, block, least, bins):
    """Count pixels and sum them by where they lie in the unit cell.

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
    sums
        (parts of the frame, bins, bins) complex64, to be added up: real the sum, imaginary the count.
    squares
        (parts,) float32 sums of the squares of all pixels that count.
    """
    parts, squares = np.zeros((PARTS, bins, bins), np.complex64), np.zeros(PARTS, np.float32)
    height = len(range(stride // 2, image.shape[0], stride))
    width = len(range(stride // 2, image.shape[1], stride))
    rows, columns = coherence.shape
    left, share = np.empty(width, np.int32), np.empty(width, np.float32)
    across = np.empty((2, width), np.float32)
    for n in range(width):
        x = stride // 2 + n * stride
        left[n], share[n] = _place((x + 0.5) / block - 0.5, columns)
        for k in range(2):
            turns = x * vectors[k, 1]
            across[k, n] = turns - math.floor(turns)
    for part in prange(PARTS):
        sums, total = parts[part].reshape(bins * bins), np.float32(0)
        # The fields at the pixels of a row, on the blocks above and below it, so that little is left to be done for each.
        fields = np.empty((2, 3, width), np.float32)
        at = np.empty(width, np.int32)
        done = -1
        for row in range(part * height // PARTS, (part + 1) * height // PARTS):
            y = stride // 2 + row * stride
            above, fy = _place((y + 0.5) / block - 0.5, rows)
            if above != done:
                for m in range(2):
                    i = min(above + m, rows - 1)
                    for n in range(width):
                        j = left[n]
                        j1 = min(j + 1, columns - 1)
                        for k in range(2):
                            value = phase[k, i, j] + (phase[k, i, j1] - phase[k, i, j]) * share[n]
                            fields[m, k, n] = value / (2 * math.pi)
                        fields[m, 2, n] = coherence[i, j] + (coherence[i, j1] - coherence[i, j]) * share[n]
                done = above
            lower = np.float32(fy)
            down_u, down_v = y * vectors[0, 0], y * vectors[1, 0]
            u_row, v_row = np.float32(down_u - math.floor(down_u)), np.float32(down_v - math.floor(down_v))
            for n in range(width):
                u = across[0, n] + u_row + fields[0, 0, n] + (fields[1, 0, n] - fields[0, 0, n]) * lower
                v = across[1, n] + v_row + fields[0, 1, n] + (fields[1, 1, n] - fields[0, 1, n]) * lower
                seen = fields[0, 2, n] + (fields[1, 2, n] - fields[0, 2, n]) * lower
                a = np.int32((u - np.floor(u)) * np.float32(bins))
                b = np.int32((v - np.floor(v)) * np.float32(bins))
                a, b = 0 if a == bins else a, 0 if b == bins else b
                at[n] = a * bins + b if seen > least else -1
            for n in range(width):
                if at[n] >= 0:
                    value = image[y, stride // 2 + n * stride]
                    sums[at[n]] += complex(value, np.float32(1))
                    total += value * value
        squares[part] = total
    return parts, squares
