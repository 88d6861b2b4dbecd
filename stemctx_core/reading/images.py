"""What a file holds: images and stacks, and the bounds that they are held to before memory is taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.context import Quantity
from stemctx_core.errors import InputError
from stemctx_core.reading.values import FileValues

#: Beyond this a frame is not a micrograph, or a file not one to be read at once, or its header is not to be believed.
MOST_PIXELS: Final = 16384 * 16384
MOST_IMAGES: Final = 64


class FoundImage(msgspec.Struct, frozen=True):
    """What a reader gives: values as they are, of any shape.

    Attributes
    ----------
    values
        Array, or something like one that is only read when asked for (HDF5, Dask); (..., height, width).
    name
        Of the detector channel; empty where the file names none.
    said
        What the file says of it.
    """

    values: Any
    name: str = ""
    said: FileValues = FileValues()


class RecordedImage(msgspec.Struct, frozen=True):
    """An image, or a stack of frames of one field, as it stands in a file.

    Attributes
    ----------
    frames
        (frames, height, width) of the file's own type, in native byte order.
    name
        Of the detector channel; empty where the file names none.
    said
        What the file says of how it was taken.
    path
        Where it was read.
    """

    frames: NDArray[Any]
    name: str
    said: FileValues
    path: Path


class Micrograph(msgspec.Struct, frozen=True):
    """One image as it stands in a file.

    Attributes
    ----------
    image
        (height, width) of the file's own type, in native byte order.
    pixel_size_angstrom
        As the file states it, or missing with the reason.
    path
        Where it was read.
    name
        Of the detector channel; empty where the file names none.
    said
        All that the file says of how it was taken.
    """

    image: NDArray[Any]
    pixel_size_angstrom: Quantity
    path: Path
    name: str = ""
    said: FileValues = FileValues()


def stack_shape(shape: tuple[int, ...], dtype: Any, path: Path) -> tuple[int, int, int]:
    """Frames, height and width of what a file holds.

    Raises
    ------
    InputError
        Anything but a bounded image or stack of real numbers.
    """
    kept = tuple(int(n) for n in shape)
    while len(kept) > 2 and 1 in kept:
        kept = kept[: kept.index(1)] + kept[kept.index(1) + 1 :]
    if len(kept) == 2:
        kept = (1, *kept)
    colour = len(kept) == 3 and kept[-1] in {3, 4}
    if len(kept) != 3 or colour or 0 in kept or math.prod(kept) > MOST_PIXELS:
        refuse_shape(shape, path)
    if np.dtype(dtype).kind not in "uif":
        raise InputError(f"{path} holds values of type {dtype}; intensities are real numbers. Convert it.")
    frames, height, width = kept
    return frames, height, width


def refuse_shape(shape: tuple[int, ...], path: Path) -> None:
    """Say of which shape a file is, and what is asked for."""
    spoken = " × ".join(map(str, shape))
    if math.prod(shape) > MOST_PIXELS:
        raise InputError(
            f"{path} says that it holds {spoken} values; at most {MOST_PIXELS:.2g} are read. Split it, or is it damaged?"
        )
    raise InputError(
        f"{path} is of shape {spoken}, not one two-dimensional image or a stack of them. Export grey frames of one "
        "channel."
    )


def recorded(found: FoundImage, path: Path) -> RecordedImage:
    """Take what a reader found, once its size and type are known to be usable; raise `InputError` where not."""
    shape = stack_shape(found.values.shape, found.values.dtype, path)
    values = np.asarray(found.values).reshape(shape)
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return RecordedImage(native, found.name, found.said, path)
