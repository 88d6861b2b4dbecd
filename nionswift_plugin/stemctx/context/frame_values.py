"""Single values of a frame's metadata and of controls, in the units of the imaging context."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from stemctx_core.context import Known, Missing, Quantity, Source

_LENGTH_NM = {
    "nm": 1.0,
    "um": 1e3,
    "\u00b5m": 1e3,
    "\u03bcm": 1e3,
    "pm": 1e-3,
    "A": 0.1,
    "\u00c5": 0.1,
    "\u212b": 0.1,
    "m": 1e9,
}


def from_frame(metadata: Mapping[str, Any], names: Sequence[str]) -> tuple[float, str] | None:
    """First of the names that the scan device stored with the frame, and where."""
    scan = metadata.get("scan", {})
    places = (
        ("scan.scan_device_properties", scan.get("scan_device_properties", {})),
        ("scan", scan),
        ("hardware_source", metadata.get("hardware_source", {})),
    )
    for name in names:
        for place, values in places:
            key = f"ImageScanned:{name}"
            value = number(values.get(key))
            if value is not None:
                return value, f"{place}.{key}"
    return None


def number(value: Any) -> float | None:
    """A finite number, or None for everything else, such as text or a truth value."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return None
    return float(value)


def kilovolts(value: float) -> float:
    """High tension (kV), from V where it is above 1000."""
    return value / 1e3 if value > 1000.0 else value


def milliradians(value: float) -> float:
    """Angle (mrad), from rad where it is below 1."""
    return value * 1e3 if abs(value) < 1.0 else value


def calibrated_nm(calibrations: Sequence[Any]) -> tuple[float, float] | None:
    """Pixel size (y, x; nm) by Nion's calibrations of the two axes, or None where they carry no length."""
    if len(calibrations) != 2 or any(c.units not in _LENGTH_NM for c in calibrations):
        return None
    y, x = (abs(float(c.scale)) * _LENGTH_NM[c.units] for c in calibrations)
    return y, x


def pixel_size(pixel_size_nm: tuple[float, float] | None) -> Quantity:
    """Pixel size (Å) from that of y and x (nm), or why it cannot be used."""
    if pixel_size_nm is None:
        return Missing("the frame carries no length calibration")
    y, x = pixel_size_nm
    if not (math.isfinite(y) and math.isfinite(x) and y > 0 and x > 0):
        return Missing(f"the frame's calibration is not a length ({y:g} by {x:g} nm)")
    if abs(y - x) > 0.01 * x:
        return Missing(f"pixels are not square ({y:g} by {x:g} nm)")
    return Known(10.0 * x, Source.FRAME, "dimensional calibrations")
