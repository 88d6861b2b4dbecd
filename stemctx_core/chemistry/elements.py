"""Elements, and composition as the occupancy of electron shells."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import periodictable
from numpy.typing import NDArray

from stemctx_core.errors import InputError

#: Subshells in Madelung order with their capacity, up to 6p.
SUBSHELLS: Final = (
    ("1s", 2), ("2s", 2), ("2p", 6), ("3s", 2), ("3p", 6), ("4s", 2), ("3d", 10), ("4p", 6), ("5s", 2),
    ("4d", 10), ("5p", 6), ("6s", 2), ("4f", 14), ("5d", 10), ("6p", 6),
)  # fmt: skip


@lru_cache(maxsize=128)
def atomic_number(symbol: str) -> int:
    """Atomic number of an element; raise `InputError` for what is not one."""
    try:
        return int(periodictable.elements.symbol(symbol).number)
    except ValueError:
        raise InputError(f"There is no element '{symbol}'. Write symbols such as V, Re or Se.") from None


def shell_encoding(symbol: str) -> NDArray[np.float32]:
    """Fraction of each subshell that is filled (aufbau order), and Z/80.

    Unlike a one-hot code it gives an element that was never trained on a place between its neighbours.

    Returns
    -------
    numpy.ndarray
        (16,) float32.
    """
    left = atomic_number(symbol)
    filled = []
    for _, capacity in SUBSHELLS:
        here = min(capacity, left)
        filled.append(here / capacity)
        left -= here
    return np.array([*filled, atomic_number(symbol) / 80.0], np.float32)
