"""What a file says of how its image was taken, and how it is looked up in the file's own metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from stemctx_core.context import Known, Missing, Quantity, Source

NOT_STATED: Final = Missing("the file does not state it")

#: What a value of a file is believed between; a default that nobody filled in, or a unit slip, lies outside.
_BELIEVED: Final = {
    "high_tension_kv": (20.0, 400.0),
    "convergence_semi_angle_mrad": (5.0, 60.0),
    "inner_mrad": (5.0, 400.0),
    "outer_mrad": (10.0, 500.0),
    "dwell_us": (0.01, 1e5),
    "probe_current_pa": (0.1, 1e5),
}
#: A pixel outside this (Å) does not resolve atoms; a calibration that says so is that of a print, or of another mode.
_ATOMIC_PIXEL_ANGSTROM: Final = (0.01, 2.0)
_SQUARE_TOLERANCE: Final = 0.01

_ANGSTROM_PER: Final = {
    "pm": 0.01, "angstrom": 1.0, "angstroms": 1.0, "ångström": 1.0, "ångstrom": 1.0, "å": 1.0, "a": 1.0, "nm": 10.0,
    "n_m": 10.0, "nanometer": 10.0, "nanometre": 10.0, "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4, "microns": 1e4,
    "mm": 1e7, "cm": 1e8, "m": 1e10, "meters": 1e10, "inch": 2.54e8,
}  # fmt: skip
_NUMBER: Final = re.compile(r"\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)")


class FileValues(msgspec.Struct, frozen=True):
    """What a file states, each with the tag it stands in, or missing with the reason.

    Attributes
    ----------
    high_tension_kv, convergence_semi_angle_mrad, inner_mrad, outer_mrad, pixel_size_angstrom
        As of `ImagingContext`.
    dwell_us
        Time of the beam on a pixel, over all passes that were added up in the file.
    probe_current_pa
        Current of the beam.
    """

    high_tension_kv: Quantity = NOT_STATED
    convergence_semi_angle_mrad: Quantity = NOT_STATED
    inner_mrad: Quantity = NOT_STATED
    outer_mrad: Quantity = NOT_STATED
    pixel_size_angstrom: Quantity = NOT_STATED
    dwell_us: Quantity = NOT_STATED
    probe_current_pa: Quantity = NOT_STATED


class Tag(NamedTuple):
    """A place in the metadata, its keys with a slash between, and what its number is to be multiplied by."""

    path: str
    factor: float = 1.0


def find(tree: Mapping[str, Any], path: str) -> Any:
    """What stands at a path of keys with a slash between, or None."""
    here: Any = tree
    for key in path.split("/"):
        if not isinstance(here, Mapping) or key not in here:
            return None
        here = here[key]
    return here


def look_up(tree: Mapping[str, Any], quantity: str, tags: Sequence[Tag]) -> Quantity:
    """First of the tags that holds a number above zero; missing where what it holds cannot be the quantity."""
    low, high = _BELIEVED[quantity]
    for tag in tags:
        value = number(find(tree, tag.path))
        if value is None or value <= 0:
            continue
        if not low <= value * tag.factor <= high:
            return Missing(f"the file's {tag.path} of {value:g} cannot be it")
        return Known(value * tag.factor, Source.FILE, tag.path)
    return NOT_STATED


def number(value: Any) -> float | None:
    """A finite number; of text, the number that it begins with."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        match = _NUMBER.match(value)
        value = match[1] if match else None
    if value is None or isinstance(value, bool):
        return None
    try:
        told = float(value)
    except (TypeError, ValueError):
        return None
    return told if math.isfinite(told) else None


def angstrom_per(unit: str) -> float | None:
    """How many Å a unit of length has, by its name; brackets around it do not matter. None for no known length."""
    return _ANGSTROM_PER.get(unit.strip().strip("[]").strip().lower())


def pixel_size(down: float, across: float, unit: str, where: str) -> Quantity:
    """Pixel size (Å) from a calibration of y and x in a unit, or why it is none of an atomic image.

    Parameters
    ----------
    where
        In words, for the record.
    """
    factor = angstrom_per(unit)
    if factor is None:
        return Missing(
            f"the file states its pixel size in '{unit}', which is no known length"
            if unit.strip()
            else "the file states no pixel size"
        )
    if not (down > 0 and across > 0 and math.isfinite(down) and math.isfinite(across)):
        return Missing(f"the pixel size in the file ({across:g} {unit}) is not a positive number")
    if abs(down / across - 1) > _SQUARE_TOLERANCE:
        return Missing(f"the pixels are not square by the file ({down:g} by {across:g} {unit})")
    low, high = _ATOMIC_PIXEL_ANGSTROM
    if not low <= across * factor <= high:
        return Missing(f"the pixel size in the file ({across:g} {unit}) is not one of an atomic image")
    return Known(across * factor, Source.FILE, where)
