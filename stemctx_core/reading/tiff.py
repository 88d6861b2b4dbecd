"""TIFF, plain or ImageJ's: images, stacks, channels, and the pixel size of the resolution tags."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import tifffile

from stemctx_core.context import Known, Missing, Quantity
from stemctx_core.errors import InputError
from stemctx_core.reading import nion_tags
from stemctx_core.reading.images import MOST_IMAGES, FoundImage, refuse_shape, stack_shape
from stemctx_core.reading.values import FileValues, angstrom_per, pixel_size

#: ImageJ writes what is not ASCII like this.
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_NION: Final = "nion.1"
_TIFF_UNITS: Final = {2: "inch", 3: "cm"}


def read(path: Path) -> list[FoundImage]:
    """Images of a TIFF file: one, a stack, or one for each channel of ImageJ."""
    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise InputError(f"{path} holds no image.")
        series = file.series[0]
        if len(file.series) > 1:
            raise InputError(
                f"{path} holds {len(file.series)} images of different shapes. Export the one that is meant."
            )
        shape, axes = tuple(int(n) for n in series.shape), series.axes
        if "S" in axes and shape[axes.index("S")] > 1:
            refuse_shape(shape, path)
        channels = shape[axes.index("C")] if "C" in axes else 1
        each = tuple(n for n, axis in zip(shape, axes, strict=True) if axis != "C")
        if channels > MOST_IMAGES:
            refuse_shape(shape, path)
        frames = stack_shape(each, series.dtype, path)
        stack_shape((channels * frames[0], *frames[1:]), series.dtype, path)
        if "C" in axes and channels > 1:
            split = np.moveaxis(series.asarray(), axes.index("C"), 0)
        else:
            split = series.asarray()[None]
        said, name = _said(file)
        names = [f"channel {k + 1}" if channels > 1 else name for k in range(channels)]
        return [FoundImage(one, name, said) for one, name in zip(split, names, strict=True)]


def _said(file: tifffile.TiffFile) -> tuple[FileValues, str]:
    """What the tags say, and the channel; Nion Swift adds its own metadata to the files that it exports."""
    own = _pixel_size(file)
    properties = (file.imagej_metadata or {}).get(_NION)
    if properties is None:
        return FileValues(pixel_size_angstrom=own), ""
    said, name = nion_tags.said(json.loads(properties))
    pixel = own if isinstance(own, Known) else said.pixel_size_angstrom
    return msgspec.structs.replace(said, pixel_size_angstrom=pixel), name


def _pixel_size(file: tifffile.TiffFile) -> Quantity:
    tags = file.pages[0].tags
    if "XResolution" not in tags:
        return Missing("the file states no resolution")
    across = _per_unit(tags["XResolution"].value)
    down = _per_unit(tags["YResolution"].value) if "YResolution" in tags else across
    unit = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), str((file.imagej_metadata or {}).get("unit", ""))).strip()
    if not unit or angstrom_per(unit) is None:
        named = _TIFF_UNITS.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
        if unit and named is None:
            return Missing(f"the file states its resolution per '{unit}', which is no known length")
        if named is None:
            return Missing("the file states a resolution without a unit")
        unit = named
    if not (across > 0 and down > 0 and math.isfinite(across) and math.isfinite(down)):
        return Missing("the resolution in the file is not a positive number")
    return pixel_size(1 / down, 1 / across, unit, f"resolution tag, {across:g} per {unit}")


def _per_unit(value: Any) -> float:
    if isinstance(value, tuple):
        return float(value[0]) / float(value[1]) if value[1] else 0.0
    return float(value)
