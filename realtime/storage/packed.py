"""What is taken apart before a file is touched, so that what cannot be written leaves no half of it: paths to values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from realtime.storage.record_file import MAX_ARRAY_BYTES, put_array, put_text
from realtime.wire.codec import AnyArray
from stemctx_core.errors import InputError

#: Path in a group to a text or an array.
Packed = dict[str, bytes | AnyArray]


def recordable(image: Any) -> AnyArray:
    """The image as an array (rows, columns).

    Raises
    ------
    InputError
        Where it is not of real numbers in rows and columns, or too large.
    """
    array = np.asarray(image)
    if array.ndim != 2 or array.dtype.kind not in "buif" or array.nbytes > MAX_ARRAY_BYTES:
        raise InputError(
            f"An image {array.shape} of {array.dtype} cannot be recorded. Give rows of real numbers, and fewer."
        )
    return array


def put_packed(group: Any, packed: Mapping[str, bytes | AnyArray], *, compressed: bool = True) -> None:
    """Put every value at its path in an HDF5 group."""
    for path, value in packed.items():
        if isinstance(value, bytes):
            put_text(group, path, value)
        else:
            put_array(group, path, value, compressed=compressed)


def say_axes(image: Any) -> None:
    """Write beside a stored image what its axes are."""
    image.attrs["axes"] = np.bytes_(b"y, x")
