"""Compiled search for the most probable scores of a hypothesis, and the curvature there."""

from __future__ import annotations

import numpy as np

from stemctx_core.bayes.columns import FAST
from stemctx_core.bayes.likelihood import linearise
from stemctx_core.bayes.scatter import scale_known, scatter_blocks
from stemctx_core.kernels.compiled import compiled

_LONGEST_STEP = 2.0
_WIDEST = 7.0
_CLOSE = 0.02
_ROUNDS = 12


@compiled(fastmath=FAST)
def products(left, right, out, symmetric):  # type: ignore[no-untyped-def]
    """`left` times the transpose of `right`; only the lower half where they are the same."""
    for a in range(len(left)):
        for b in range(a + 1 if symmetric else len(right)):
            total = np.float32(0.0)
            first, second = left[a], right[b]
            for s in range(len(first)):
                total += first[s] * second[s]
            out[a, b] = total


@compiled(fastmath=FAST)
def factorise(matrix):  # type: ignore[no-untyped-def]
    """Cholesky factor in place (lower half); returns the log determinant."""
    log_determinant = 0.0
    for j in range(len(matrix)):
        for k in range(j):
            share = matrix[j, k]
            for i in range(j, len(matrix)):
                matrix[i, j] -= matrix[i, k] * share
        root = np.sqrt(max(matrix[j, j], 1e-6))
        log_determinant += 2 * np.log(root)
        for i in range(j, len(matrix)):
            matrix[i, j] /= root
    return log_determinant


@compiled(fastmath=FAST)
def solve_lower(factor, vector):  # type: ignore[no-untyped-def]
    """`vector` to the solution of ``factor @ solution = vector``, in place."""
    for i in range(len(vector)):
        total = vector[i]
        for k in range(i):
            total -= factor[i, k] * vector[k]
        vector[i] = total / factor[i, i]


@compiled(fastmath=FAST)
def solve_upper(factor, vector):  # type: ignore[no-untyped-def]
    """`vector` to the solution of ``factor.T @ solution = vector``, in place."""
    for i in range(len(vector) - 1, -1, -1):
        vector[i] /= factor[i, i]
        for k in range(i):
            vector[k] -= factor[i, k] * vector[i]


@compiled(fastmath=FAST)
def gradient(site, z, work, out):  # type: ignore[no-untyped-def]
    """Gradient of the log joint after `linearise`."""
    for p in range(site.size):
        total = np.float32(0.0)
        row = work.slopes[p]
        for s in range(len(row)):
            total += row[s] * work.residual[s]
        out[p] = total - work.extra[p] * work.extra[site.size] - work.precision[p] * z[p]


@compiled(fastmath=FAST)
def curvature(site, work, out):  # type: ignore[no-untyped-def]
    """Cholesky factor of Fisher information and prior after `linearise`, and its log determinant."""
    products(work.slopes, work.slopes, out, True)
    for p in range(site.size):
        for other in range(p + 1):
            out[p, other] += work.extra[p] * work.extra[other]
        out[p, p] += work.precision[p]
    return factorise(out)


@compiled(fastmath=FAST)
def ascend(site, patch, z, kinds, work, factor, hopeless):  # type: ignore[no-untyped-def]
    """Move `z` to the maximum of the log joint by Gauss-Newton; returns it and the log determinant.

    `factor` and `work` belong to the last `z`. Stops early where even the predicted gain leaves it below `hopeless`.
    """
    slope, step, before = np.zeros(site.size), np.zeros(site.size), z.copy()
    best = linearise(site, patch, z, kinds, work)
    log_determinant = curvature(site, work, factor)
    for _ in range(_ROUNDS):
        gradient(site, z, work, slope)
        step[:] = slope
        solve_lower(factor, step)
        gain = 0.0
        for p in range(site.size):
            gain += 0.5 * step[p] * step[p]
        if gain < _CLOSE or best + 2 * gain < hopeless:
            break
        solve_upper(factor, step)
        shorter = min(1.0, _LONGEST_STEP / np.max(np.abs(step)))
        before[:] = z
        value = best
        for _ in range(6):
            for p in range(site.size):
                z[p] = min(max(before[p] + shorter * step[p], -_WIDEST), _WIDEST)
            value = linearise(site, patch, z, kinds, work)
            if value > best:
                break
            shorter *= 0.4
        if value <= best:
            z[:] = before
            best = linearise(site, patch, z, kinds, work)
            break
        best = value
        log_determinant = curvature(site, work, factor)
    return best, log_determinant


@compiled(fastmath=FAST)
def settle_scales(site, z, factor, work):  # type: ignore[no-untyped-def]
    """Set `work.precision` of scattered scores to what their expected sum of squares says of the scale.

    The expectation, and not the most probable scores alone: these are close to 0 wherever counts say little.
    """
    unit = np.zeros(site.size)
    for first, last in scatter_blocks(site):
        square = 0.0
        for p in range(first, last):
            unit[:] = 0.0
            unit[p] = 1.0
            solve_lower(factor, unit)
            square += z[p] * z[p] + np.sum(unit * unit)
        if last > first:
            precision = scale_known(site, last - first, square)[1]
            work.precision[first:last] = min(max(precision, 0.4), 2.5)
