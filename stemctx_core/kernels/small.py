"""Small systems of linear equations inside compiled loops, where a call of LAPACK costs more than solving them."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# numba infers the types.

from __future__ import annotations

import numpy as np

from stemctx_core.kernels.compiled import compiled


@compiled()
def solved(matrix, right):
    """(n, m) solution of a symmetric positive definite system, matrix (n, n) and right sides (n, m), by elimination.

    NaN or infinite where the matrix is singular.
    """
    left, solution = matrix.copy(), right.copy()
    count = len(left)
    for k in range(count):
        for i in range(k + 1, count):
            share = left[i, k] / left[k, k] if left[k, k] != 0 else np.nan
            for j in range(k, count):
                left[i, j] -= share * left[k, j]
            for j in range(right.shape[1]):
                solution[i, j] -= share * solution[k, j]
    for k in range(count - 1, -1, -1):
        for j in range(right.shape[1]):
            for i in range(k + 1, count):
                solution[k, j] -= left[k, i] * solution[i, j]
            solution[k, j] /= left[k, k] if left[k, k] != 0 else np.nan
    return solution
