"""Whitened distances of many sites, compiled: how far each is from its candidate, and whether it has changed.

One thread each, and without the interpreter's lock: `stemctx_core.kernels.sharing` gives parts of the sites to several, and
compiling takes a third of the time that loops with threads of their own take.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, assignment"
# numba infers the types.

from __future__ import annotations

import numpy as np

from stemctx_core.kernels.compiled import compiled


@compiled(nogil=True, fastmath=True)
def mean_squares(features, row, mean, whiten):
    """Mean square of each site's whitened distance from its candidate: (n,) float64.

    Parameters
    ----------
    features
        (n, K) float32.
    row
        (n,) candidate of each.
    mean
        (C, K) float32.
    whiten
        (C, K, K) float32 inverse Cholesky factors; what is above their diagonals is not looked at.
    """
    count, width = features.shape
    squares = np.empty(count)
    for n in range(count):
        away = np.empty(width, np.float32)
        for k in range(width):
            away[k] = features[n, k] - mean[row[n], k]
        total = 0.0
        for k in range(width):
            white = np.float32(0)
            for m in range(k + 1):
                white += whiten[row[n], k, m] * away[m]
            total += white * white
        squares[n] = total / width
    return squares


@compiled(nogil=True, fastmath=True)
def changes(difference, kind, was, whiten, steps, least):
    """What speaks for each site having changed: (n,) nats of the likeliest change, and (n,) mean squares.

    Parameters
    ----------
    difference
        (n, K) float32 of a site's features from what they were.
    kind
        (n,) sublattice of each.
    was
        (n,) candidate that each was taken for.
    whiten
        (sublattices, K, K) float32 inverse Cholesky factors of what two frames may differ by.
    steps
        (sublattices, C, C, K) float32 whitened change from each candidate to each.
    least
        (sublattices, C, C) half of its square.
    """
    count, width = difference.shape
    nats, squares = np.empty(count), np.empty(count)
    for n in range(count):
        white = np.empty(width, np.float32)
        total = 0.0
        for k in range(width):
            value = np.float32(0)
            for m in range(k + 1):
                value += whiten[kind[n], k, m] * difference[n, m]
            white[k] = value
            total += value * value
        squares[n] = total / width
        best = 0.0
        for c in range(steps.shape[2]):
            gained = np.float32(0)
            for k in range(width):
                gained += steps[kind[n], was[n], c, k] * white[k]
            best = max(best, gained - least[kind[n], was[n], c])
        nats[n] = best
    return nats, squares
