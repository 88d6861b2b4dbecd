"""Medians and standard deviations that a few outliers do not move."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def medians(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Median of every row; of float32 in single precision."""
    middle = rows.shape[1] // 2
    parted = np.partition(rows, middle, axis=1)
    upper = parted[:, middle]
    if rows.shape[1] % 2:
        return upper.astype(np.float64)
    half: NDArray[np.float64] = (parted[:, :middle].max(axis=1).astype(np.float64) + upper) / 2
    return half


def robust_sds(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Standard deviation of every row by its median absolute deviation."""
    away = rows - medians(rows)[:, None].astype(rows.dtype)
    return 1.4826 * medians(np.abs(away, out=away))


def robust_sd(values: NDArray[np.floating[Any]]) -> float:
    """Standard deviation by the median absolute deviation."""
    return float(robust_sds(values[None])[0])
