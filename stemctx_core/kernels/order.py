"""The number of a rank among many by halving, compiled: how many are up to a number is counted in a few vector instructions."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# numba infers the types.

from __future__ import annotations

import numpy as np

from stemctx_core.kernels.compiled import compiled


@compiled(inline="always")
def in_order(bits, sign, largest):
    """The bits of a float as an integer that is in the order of the floats; and back."""
    # Of two floats below zero, the one with the smaller bits is the larger.
    return bits ^ ((bits >> sign) & largest)


@compiled()
def two_from(ordered, wanted):
    """Of (n,) integers, the `wanted`-th smallest (1 is the smallest) and the next, which is the same where it is the last.

    All in the integers that are given: wider ones would halve the speed.
    """
    kind = ordered.dtype.type
    smallest, largest, one = kind(np.iinfo(ordered.dtype).min), kind(np.iinfo(ordered.dtype).max), kind(1)
    count = len(ordered)
    low, high = largest, smallest
    for i in range(count):
        low, high = min(low, ordered[i]), max(high, ordered[i])
    least = kind(wanted)
    while True:
        half = kind(kind(low & high) + kind(kind(low ^ high) >> one))
        seen = kind(0)
        for i in range(count):
            seen += kind(ordered[i] <= half)
        if seen == least or low >= high:
            break
        if seen > least:
            high = half
        else:
            low = kind(half + one)
    below, above = smallest, largest
    for i in range(count):
        number = ordered[i]
        below = max(below, number if number <= half else smallest)
        above = min(above, number if number > half else largest)
    return below, below if seen > least or seen == count else above


@compiled()
def of_rank(rows, wanted, out):
    """Put the `wanted`-th smallest number of every row (1 is the smallest) and the next into the columns of `out`.

    Parameters
    ----------
    rows
        (n, count) floats, as the integers that have their bits.
    out
        (2, n) of them.
    """
    kind = rows.dtype.type
    sign, largest = kind(8 * rows.itemsize - 1), kind(np.iinfo(rows.dtype).max)
    ordered = np.empty(rows.shape[1], rows.dtype)
    for n in range(len(rows)):
        for i in range(len(ordered)):
            ordered[i] = in_order(rows[n, i], sign, largest)
        number, following = two_from(ordered, wanted)
        out[0, n] = in_order(number, sign, largest)
        out[1, n] = in_order(following, sign, largest)


@compiled()
def median(values):
    """Median of (n,) float32 values."""
    two = np.empty((2, 1), np.int32)
    of_rank(values.view(np.int32).reshape(1, len(values)), (len(values) + 1) // 2, two)
    lower, upper = two.view(np.float32)[:, 0]
    return np.float64(lower) if len(values) % 2 else (np.float64(lower) + np.float64(upper)) / 2
