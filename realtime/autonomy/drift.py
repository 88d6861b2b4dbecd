"""Drift of the specimen, found from frames of it."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime.autonomy.microscope import Pair


class Registration(msgspec.Struct, frozen=True):
    """How far the specimen moved between two frames.

    Attributes
    ----------
    shift_nm
        y, x in scan coordinates: what lay at p lies at p + shift.
    probability
        That it is this shift and not another by lattice vectors more or less, or beyond the range looked at.
    sites
        Number of sites that both frames judged.
    error_nm
        Standard error of the shift, if it is this one.
    reason
        Why it is not sure, or empty.
    """

    shift_nm: Pair
    probability: float
    sites: int
    error_nm: float
    reason: str = ""

    @property
    def sure(self) -> bool:
        """Whether it may be acted on."""
        return not self.reason


class DriftModel:
    """Velocity of the specimen from recent registrations."""

    @property
    def velocity_nm_per_s(self) -> Pair:
        """y, x; (0, 0) before anything is known."""
        raise NotImplementedError

    def add(self, shift_nm: Pair, from_ns: int, to_ns: int, error_nm: float) -> None:
        """Take a sure registration."""
        raise NotImplementedError

    def predict(self, position_nm: Pair, seen_ns: int, now_ns: int) -> Pair:
        """Say where something lies now that was seen earlier (scan coordinates)."""
        raise NotImplementedError

    def error_nm(self, seen_ns: int, now_ns: int) -> float:
        """Standard deviation per axis of what `predict` says."""
        raise NotImplementedError


Positions = NDArray[np.float64]
