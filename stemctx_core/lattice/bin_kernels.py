"""The loops over the bins of a power spectrum that Bragg peaks are found by, compiled."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, assignment"
# numba infers the types.

from __future__ import annotations

import math

import numpy as np

from stemctx_core.kernels.compiled import compiled
from stemctx_core.kernels.order import in_order, two_from


@compiled(fastmath=True)
def smoothed(power, down, across):
    """(rows, columns) averages with weights along both axes; beyond the edges the bins go on mirrored.

    Parameters
    ----------
    power
        (rows, columns) float32.
    down, across
        (2 × reach + 1,) float32 weights of each axis.
    """
    rows, columns = power.shape
    once, twice = np.zeros(power.shape, np.float32), np.zeros(power.shape, np.float32)
    reach = len(down) // 2
    for i in range(rows):
        for k in range(-reach, reach + 1):
            weight, other = down[k + reach], _mirrored(i + k, rows)
            for j in range(columns):
                once[i, j] += weight * power[other, j]
    reach = len(across) // 2
    for i in range(rows):
        for k in range(-reach, reach + 1):
            weight = across[k + reach]
            first, last = max(0, -k), min(columns, columns - k)
            for j in range(first, last):
                twice[i, j] += weight * once[i, j + k]
            for j in range(first):
                twice[i, j] += weight * once[i, _mirrored(j + k, columns)]
            for j in range(last, columns):
                twice[i, j] += weight * once[i, _mirrored(j + k, columns)]
    return twice


@compiled(inline="always")
def _mirrored(i, count):
    """The index inside that one beyond the edge stands for."""
    return min(max(-1 - i if i < 0 else 2 * count - 1 - i if i >= count else i, 0), count - 1)


@compiled()
def levels(power, frequency, counted, per_ring, rings, share):
    """Quantile of the power in each ring of frequency, between two values where it falls there: (rings,), else NaN.

    Parameters
    ----------
    power, frequency, counted
        (rows, columns) float32, float64, and which bins are counted.
    per_ring
        Rings a unit of frequency; the last takes what is beyond.
    """
    rows, columns = power.shape
    ring = np.empty(power.shape, np.uint8)
    sizes = np.zeros(rings + 1, np.int64)
    for i in range(rows):
        for j in range(columns):
            ring[i, j] = min(int(frequency[i, j] * per_ring), rings - 1) if counted[i, j] else rings
            sizes[ring[i, j]] += 1
    first = np.zeros(rings + 2, np.int64)
    for k in range(rings + 1):
        first[k + 1] = first[k] + sizes[k]
    ordered, free = np.empty(power.size, np.int32), first[:-1].copy()
    bits = power.view(np.int32)
    sign, largest = np.int32(31), np.int32(np.iinfo(np.int32).max)
    for i in range(rows):
        for j in range(columns):
            ordered[free[ring[i, j]]] = in_order(bits[i, j], sign, largest)
            free[ring[i, j]] += 1
    found, two = np.full(rings, np.nan), np.empty(2, np.int32)
    for k in range(rings):
        if sizes[k]:
            place = share * (sizes[k] - 1)
            low = int(place)
            two[0], two[1] = two_from(ordered[first[k] : first[k + 1]], low + 1)
            for m in range(2):
                two[m] = in_order(two[m], sign, largest)
            values = two.view(np.float32)
            found[k] = values[0] + (place - low) * (values[1] - values[0])
    return found


@compiled(fastmath=True)
def over_noise(power, frequency, per_ring, log_noise):
    """Power over the noise at its frequency, of which the logarithm is given in the middle of each ring; float32."""
    rows, columns = power.shape
    last = len(log_noise) - 1
    over = np.empty(power.shape, np.float32)
    low, step = np.empty(last, np.float32), np.empty(last, np.float32)
    for k in range(last):
        low[k], step[k] = log_noise[k], log_noise[k + 1] - log_noise[k]
    scale, zero, end = np.float32(per_ring), np.float32(0), np.float32(last)
    for i in range(rows):
        for j in range(columns):
            at = min(max(np.float32(frequency[i, j]) * scale - np.float32(0.5), zero), end)
            k = min(np.int32(at), np.int32(last - 1))
            over[i, j] = power[i, j] * np.exp(-(low[k] + step[k] * (at - np.float32(k))))
    return over


@compiled()
def summits(field, frequency, lowest, highest, least, reach_y, reach_x, middle):
    """(n, 2) bins of the local maxima at or right of the middle column that are above `least` within two frequencies."""
    rows, columns = field.shape
    found = np.empty((field.size, 2), np.int64)
    count = 0
    for i in range(rows):
        for j in range(middle, columns):
            value = field[i, j]
            if value > least and lowest <= frequency[i, j] <= highest:
                top = True
                for y in range(max(i - reach_y, 0), min(i + reach_y + 1, rows)):
                    for x in range(max(j - reach_x, 0), min(j + reach_x + 1, columns)):
                        top &= field[y, x] <= value
                if top:
                    found[count, 0], found[count, 1] = i, j
                    count += 1
    return found[:count].copy()


@compiled()
def between_bins(power, bins):
    """(n, 2) places of the summits of parabolas through the logarithm of the power at (n, 2) bins, in bins."""
    rows, columns = power.shape
    places = np.empty((len(bins), 2))
    for n in range(len(bins)):
        i, j = bins[n, 0], bins[n, 1]
        places[n, 0], places[n, 1] = i, j
        middle = math.log(max(power[i, j], 1e-30))
        # In the first and the last bin there is nothing on one side.
        if 0 < i < rows - 1:
            places[n, 0] += _summit(power[i - 1, j], middle, power[i + 1, j])
        if 0 < j < columns - 1:
            places[n, 1] += _summit(power[i, j - 1], middle, power[i, j + 1])
    return places


@compiled(inline="always")
def _summit(before, middle, after):
    """How far the summit is from the middle bin, where there is one."""
    low, high = math.log(max(before, 1e-30)), math.log(max(after, 1e-30))
    curvature = low + high - 2 * middle
    return min(max((low - high) / (2 * curvature), -0.5), 0.5) if curvature < 0 else 0.0


@compiled()
def strongest_within(field, top, bottom, left, right):
    """Largest value of a part of a field, edges included, and its row and column; 0 where nothing is in it."""
    value, row, column = field.dtype.type(0), -1, -1
    for i in range(top, min(bottom + 1, field.shape[0])):
        for j in range(left, min(right + 1, field.shape[1])):
            if field[i, j] > value or row < 0:
                value, row, column = field[i, j], i, j
    return value, row, column
