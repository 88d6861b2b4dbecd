"""Micrographs from files: TIFF and NumPy, with the pixel size that the file itself states."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import tifffile
from numpy.typing import NDArray

from stemctx_core.context import Known, Missing, Quantity, Source
from stemctx_core.errors import InputError

#: Beyond this a file is not a micrograph, or its header is not to be believed.
MOST_PIXELS: Final = 16384 * 16384
#: A pixel outside this (Å) does not resolve atoms; a resolution tag that says so is that of a print.
_ATOMIC_PIXEL_ANGSTROM: Final = (0.005, 5.0)
_SQUARE_TOLERANCE: Final = 0.01

_ANGSTROM_PER: Final = {
    "pm": 0.01, "angstrom": 1.0, "ångström": 1.0, "ångstrom": 1.0, "å": 1.0, "a": 1.0, "nm": 10.0, "nanometer": 10.0,
    "nanometre": 10.0, "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4, "microns": 1e4, "mm": 1e7, "cm": 1e8, "m": 1e10,
    "inch": 2.54e8,
}  # fmt: skip
#: ImageJ writes what is not ASCII like this.
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_TIFF_UNITS: Final = {2: "inch", 3: "cm"}


class Micrograph(msgspec.Struct, frozen=True):
    """An image as it stands in a file.

    Attributes
    ----------
    image
        (height, width) of the file's own type, in native byte order.
    pixel_size_angstrom
        As the file states it, or missing with the reason.
    path
        Where it was read.
    """

    image: NDArray[Any]
    pixel_size_angstrom: Quantity
    path: Path


def read_micrograph(path: Path) -> Micrograph:
    """Read one image.

    Parameters
    ----------
    path
        ``.tif``, ``.tiff`` or ``.npy``.

    Raises
    ------
    InputError
        A file that is not there, cannot be read, or holds anything but one two-dimensional image of real numbers.
    """
    readers = {".tif": _read_tiff, ".tiff": _read_tiff, ".npy": _read_npy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is of a kind that is not read. Export it as {', '.join(readers)}.")
    if not path.is_file():
        raise InputError(f"There is no file {path}. Check the name.")
    try:
        image, pixel_size = reader(path)
    except InputError:
        raise
    except Exception as error:  # a damaged file can make a reader raise anything
        words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read: {words}. Is it a whole {path.suffix} file?") from error
    _check(image, path)
    native = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    return Micrograph(native, pixel_size, path)


def _read_npy(path: Path) -> tuple[NDArray[Any], Quantity]:
    # Mapped first, so that a header that lies about the size is found out before memory is taken. An array of
    # objects is refused by NumPy, since it could run code.
    mapped = np.lib.format.open_memmap(path, mode="r")
    _check(mapped, path)
    return np.array(mapped), Missing("a .npy file states no pixel size")


def _read_tiff(path: Path) -> tuple[NDArray[Any], Quantity]:
    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise InputError(f"{path} holds no image.")
        series = file.series[0]
        if len(file.series) > 1:
            raise InputError(f"{path} holds {len(file.series)} images. Export the one that is meant.")
        shape = tuple(int(n) for n in series.shape)
        while len(shape) > 2 and 1 in shape:
            shape = shape[: shape.index(1)] + shape[shape.index(1) + 1 :]
        if len(shape) != 2 or math.prod(shape) > MOST_PIXELS:
            _refuse_shape(shape, path)
        image = series.asarray().reshape(shape)
        return image, _tiff_pixel_size(file)


def _tiff_pixel_size(file: tifffile.TiffFile) -> Quantity:
    tags = file.pages[0].tags
    if "XResolution" not in tags:
        return Missing("the file states no resolution")
    across = _per_unit(tags["XResolution"].value)
    down = _per_unit(tags["YResolution"].value) if "YResolution" in tags else across
    unit = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), str((file.imagej_metadata or {}).get("unit", ""))).strip()
    if not unit or unit.lower() not in _ANGSTROM_PER:
        named = _TIFF_UNITS.get(int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1)
        if unit and named is None:
            return Missing(f"the file states its resolution per '{unit}', which is no known length")
        if named is None:
            return Missing("the file states a resolution without a unit")
        unit = named
    if not (across > 0 and down > 0 and math.isfinite(across) and math.isfinite(down)):
        return Missing("the resolution in the file is not a positive number")
    if abs(across / down - 1) > _SQUARE_TOLERANCE:
        return Missing(f"the pixels are not square by the file ({across:g} by {down:g} per {unit})")
    pixel = _ANGSTROM_PER[unit.lower()] / across
    low, high = _ATOMIC_PIXEL_ANGSTROM
    if not low <= pixel <= high:
        return Missing(f"the resolution in the file ({across:g} per {unit}) is not one of an atomic image")
    return Known(pixel, Source.FILE, f"resolution tag, {across:g} per {unit}")


def _per_unit(value: Any) -> float:
    if isinstance(value, tuple):
        return float(value[0]) / float(value[1]) if value[1] else 0.0
    return float(value)


def _check(image: NDArray[Any], path: Path) -> None:
    if image.ndim != 2 or 0 in image.shape or image.size > MOST_PIXELS:
        _refuse_shape(image.shape, path)
    if image.dtype.kind not in "uif":
        raise InputError(
            f"{path} holds values of type {image.dtype}; intensities are real numbers. Convert it."
        )


def _refuse_shape(shape: tuple[int, ...], path: Path) -> None:
    spoken = " × ".join(map(str, shape))
    raise InputError(
        f"{path} is of shape {spoken}, not one two-dimensional image. Export a single grey frame of one channel."
    )
