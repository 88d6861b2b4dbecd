"""Small systems are solved as LAPACK solves them, and what cannot be solved is not a number."""

from __future__ import annotations

import numpy as np
import pytest

from stemctx_core.kernels.small import solved


@pytest.mark.parametrize("count", [1, 3, 6])
@pytest.mark.parametrize("sides", [1, 2])
def test_it_is_the_solution(count: int, sides: int) -> None:
    rng = np.random.default_rng(count)
    factor = rng.normal(size=(count, count))
    matrix, right = factor @ factor.T + 0.1 * np.eye(count), rng.normal(size=(count, sides))
    before = matrix.copy(), right.copy()
    np.testing.assert_allclose(solved(matrix, right), np.linalg.solve(matrix, right), rtol=1e-9)
    np.testing.assert_array_equal(matrix, before[0])
    np.testing.assert_array_equal(right, before[1])


def test_what_is_singular_gives_no_number() -> None:
    assert not np.isfinite(solved(np.zeros((3, 3)), np.ones((3, 1)))).any()
