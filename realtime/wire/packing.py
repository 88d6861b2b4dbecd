"""Real numbers as u16 with a gain and an offset: half the bytes of float32, and only where the loss does not matter."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from realtime.wire.messages import Scaling

_STEPS: Final = 65535
#: A step may be so much of the spread between the quartiles: far below the noise of any frame.
_MOST_LOSS: Final = 0.01
#: Integers up to here are exact in float32.
_EXACT: Final = 2**24
_SAMPLES: Final = 65536
#: What `Scaling` takes.
_RANGE: Final = (1e-30, 1e30)


def pack(array: NDArray[Any]) -> tuple[NDArray[np.uint16], Scaling] | None:
    """Pack an array into u16, or say that it is better sent as it is.

    Whole numbers that span at most 65535, such as counted electrons, are packed without loss. Other values are off
    by half a step at most, a step being 1/65535 of their span.

    Returns
    -------
    tuple or None
        The numbers and what they stand for. None where the type has two bytes or less already, where a value is not
        finite, or where one pixel takes so much of the span that a step is over 1 % of the spread between the
        quartiles.
    """
    if array.dtype.kind not in "uif" or array.dtype.itemsize <= 2 or not array.size:
        return None
    low, high = float(array.min()), float(array.max())
    if not (-_RANGE[1] <= low <= high <= _RANGE[1]):  # also where one is not a number
        return None
    if high - low <= _STEPS and max(-low, high) < _EXACT and low == int(low) and _is_whole(array):
        return (array - array.dtype.type(low)).astype("<u2"), Scaling(1.0, low)
    gain = (high - low) / _STEPS
    stride = max(1, array.size // _SAMPLES)
    quartiles = np.percentile(array.ravel()[::stride], [25, 75])
    if gain < _RANGE[0] or gain > _MOST_LOSS * float(quartiles[1] - quartiles[0]):
        return None
    numbers = np.rint((array.astype(np.float64) - low) / gain)
    return np.clip(numbers, 0, _STEPS).astype("<u2"), Scaling(gain, low)


def unpack(numbers: NDArray[Any], scaling: Scaling) -> NDArray[np.float32]:
    """The values (float32) that packed numbers stand for."""
    values = numbers.astype(np.float32)
    values *= np.float32(scaling.gain)
    values += np.float32(scaling.offset)
    return values


def _is_whole(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "ui" or bool((np.rint(array) == array).all())
