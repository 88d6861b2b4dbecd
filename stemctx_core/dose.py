"""Electrons per area, from what an instrument is set to."""

from __future__ import annotations

from typing import Final

_ELEMENTARY_CHARGE_C: Final = 1.602176634e-19


def dose_e_per_angstrom2(current_a: float, dwell_us: float, pixel_size_angstrom: float) -> float:
    """Electrons per area (e/Å²): current (A) x dwell time (µs) / (elementary charge x area of a pixel of this side (Å))."""
    return current_a * dwell_us * 1e-6 / (_ELEMENTARY_CHARGE_C * pixel_size_angstrom**2)
