"""What the readers of RosettaSciIO have in common: arrays and axes of what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemctx_core.context import Missing, Quantity
from stemctx_core.errors import InputError
from stemctx_core.reading.images import stack_shape
from stemctx_core.reading.values import pixel_size


def taken(data: Any, path: Path) -> Any:
    """The values of a Dask array, or the array itself where it is no image that would be read; on this thread."""
    try:
        stack_shape(data.shape, data.dtype, path)
    except InputError:
        return data
    return data.compute(scheduler="synchronous") if hasattr(data, "compute") else data


def pixel_size_of_axes(axes: Sequence[Mapping[str, Any]]) -> Quantity:
    """Pixel size of the last two axes, which are y and x."""
    if len(axes) < 2:
        return Missing("the file states no pixel size")
    y, x = axes[-2:]
    unit = str(x.get("units") or "")
    if str(y.get("units") or "") != unit:
        return Missing("the file states y and x in different units")
    down, across = (abs(float(axis.get("scale", 0.0))) for axis in (y, x))
    return pixel_size(down, across, unit, f"axis calibration, {across:g} {unit}")


def text(value: Any) -> str:
    """A name as text; empty where there is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return value.strip() if isinstance(value, str) else ""
