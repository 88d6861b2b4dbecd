"""Medians and standard deviations that a few outliers do not move."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.kernels import order

#: Of shorter rows NumPy's partition is as fast.
_FEWEST: Final = 64
#: Bits of floats as integers.
_BITS: Final = {"float32": np.int32, "float64": np.int64}


def medians(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Median of every row of finite numbers; of float32 in single precision."""
    count = rows.shape[1]
    if count < _FEWEST or rows.dtype.name not in _BITS:
        return _by_partition(rows)
    lower, upper = _from_rank(rows, (count + 1) // 2).astype(np.float64)
    half: NDArray[np.float64] = lower if count % 2 else (lower + upper) / 2
    return half


def of_rank(values: NDArray[np.floating[Any]], rank: int) -> float:
    """The one of finite numbers that has so many before it in order."""
    return float(_from_rank(values.reshape(1, -1), rank + 1)[0, 0])


def robust_sds(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Standard deviation of every row by its median absolute deviation."""
    away = rows - medians(rows)[:, None].astype(rows.dtype)
    return 1.4826 * medians(np.abs(away, out=away))


def robust_sd(values: NDArray[np.floating[Any]]) -> float:
    """Standard deviation by the median absolute deviation."""
    return float(robust_sds(values[None])[0])


def _from_rank(rows: NDArray[Any], wanted: int) -> NDArray[Any]:
    """(2, n) number of a rank in each row, 1 the smallest, and the next."""
    bits = _BITS[rows.dtype.name]
    found = np.empty((2, len(rows)), bits)
    order.of_rank(np.ascontiguousarray(rows).view(bits), wanted, found)
    return found.view(rows.dtype)


def _by_partition(rows: NDArray[Any]) -> NDArray[np.float64]:
    middle = rows.shape[1] // 2
    parted = np.partition(rows, middle, axis=1)
    upper = parted[:, middle]
    if rows.shape[1] % 2:
        return upper.astype(np.float64)
    half: NDArray[np.float64] = (parted[:, :middle].max(axis=1).astype(np.float64) + upper) / 2
    return half
