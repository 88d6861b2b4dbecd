"""Least squares over few unknowns within bounds, where a trial is dear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROUNDS: Final = 4
_DAMPINGS: Final = 4


def descended(
    trial: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    x: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Levenberg's and Marquardt's descent in units of the steps, within bounds; few trials, since each is a frame."""
    here = trial(x)
    damping = 1.0
    for _ in range(_ROUNDS):
        slopes = []
        for k in range(len(x)):
            moved = x.copy()
            moved[k] += step[k] if x[k] + step[k] <= high[k] else -step[k]
            slopes.append((trial(moved) - here) / (moved[k] - x[k]) * step[k])
        slope = np.array(slopes).T
        for _ in range(_DAMPINGS):
            normal = slope.T @ slope
            normal += damping * np.diag(np.diagonal(normal) + 1e-6)
            tried = np.clip(x - np.linalg.solve(normal, slope.T @ here) * step, low, high)
            there = trial(tried)
            if there @ there < here @ here:
                x, here, damping = tried, there, damping / 5
                break
            damping *= 5
        else:
            break
    return x
