"""Where Nion Swift stores how a frame was taken; files of other formats that it exports carry the same tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stemctx_core.context import Missing, Quantity
from stemctx_core.reading.values import NOT_STATED, FileValues, Tag, find, look_up, number, pixel_size

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


def said(properties: Mapping[str, Any]) -> tuple[FileValues, str]:
    """What the properties of a data item say of it, in a library's file or in an exported one; and its channel."""
    # Up to version 12 of Swift's files they stand one deeper; exported files name the calibrations otherwise.
    held = find(properties, "data_source") or properties
    metadata = held.get("metadata") or {}
    channel = channel_name(metadata)
    inner, outer = collection(metadata, channel)
    values = FileValues(
        high_tension_kv=high_tension(metadata),
        convergence_semi_angle_mrad=convergence(metadata),
        inner_mrad=inner,
        outer_mrad=outer,
        pixel_size_angstrom=_pixel_size(
            held.get("dimensional_calibrations") or held.get("spatial_calibrations") or ()
        ),
        dwell_us=dwell(metadata),
    )
    return values, channel


def is_image(properties: Mapping[str, Any]) -> bool:
    """Whether the last two axes are an image's, not those of spectra."""
    held = find(properties, "data_source") or properties
    return bool(held.get("datum_dimension_count", 2) == 2)


def _pixel_size(calibrations: Sequence[Mapping[str, Any]]) -> Quantity:
    if len(calibrations) < 2:
        return Missing("the file states no pixel size")
    y, x = calibrations[-2:]
    if y.get("units") != x.get("units"):
        return Missing("the file states y and x in different units")
    down, across = (number(axis.get("scale")) or 0.0 for axis in (y, x))
    unit = str(x.get("units") or "")
    return pixel_size(down, across, unit, f"dimensional calibrations, {across:g} {unit}")
