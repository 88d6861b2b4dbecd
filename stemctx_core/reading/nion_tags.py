"""Where Nion Swift stores how a frame was taken; files of other formats that it exports carry the same tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stemctx_core.context import Quantity
from stemctx_core.reading.values import NOT_STATED, Tag, find, look_up

_PLACES: Final = (
    "scan/scan_device_properties/ImageScanned:",
    "scan/ImageScanned:",
    "hardware_source/ImageScanned:",
)


def high_tension(metadata: Mapping[str, Any]) -> Quantity:
    """Energy (kV), from V."""
    tags = [Tag(f"{place}EHT", 1e-3) for place in _PLACES]
    return look_up(metadata, "high_tension_kv", [*tags, Tag("instrument/high_tension", 1e-3)])


def convergence(metadata: Mapping[str, Any]) -> Quantity:
    """Convergence semi-angle (mrad), from rad."""
    return _angle(metadata, "convergence_semi_angle_mrad", ("probe_ha", "ConvergenceAngle"))


def collection(metadata: Mapping[str, Any], channel: str) -> tuple[Quantity, Quantity]:
    """Inner and outer collection semi-angle (mrad) of a channel, from rad."""
    inner = _angle(metadata, "inner_mrad", (f"{channel}_Inner_ha", f"{channel}_InnerAngle"))
    outer = _angle(metadata, "outer_mrad", (f"{channel}_Outer_ha", f"{channel}_OuterAngle"))
    return inner, outer


def dwell(metadata: Mapping[str, Any]) -> Quantity:
    """Dwell time (µs)."""
    return look_up(
        metadata,
        "dwell_us",
        [Tag("hardware_source/pixel_time_us"), Tag("scan/scan_context/pixel_time_us")],
    )


def channel_name(metadata: Mapping[str, Any]) -> str:
    """Name of the detector channel."""
    for place in ("hardware_source/channel_name", "scan/channel_name"):
        name = find(metadata, place)
        if isinstance(name, str) and name:
            return name.removesuffix(" Subscan")
    return ""


def _angle(metadata: Mapping[str, Any], quantity: str, names: tuple[str, ...]) -> Quantity:
    """An angle, which instruments give in rad, and some in mrad."""
    for name in names:
        for place in _PLACES:
            path = f"{place}{name}"
            value = find(metadata, path)
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                continue
            return look_up(metadata, quantity, [Tag(path, 1e3 if value < 1 else 1.0)])
    return NOT_STATED
