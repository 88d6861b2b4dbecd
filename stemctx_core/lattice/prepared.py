"""A frame as the lattice is looked for in it, after the checks that need no lattice."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError, LatticeError
from stemctx_core.kernels.robust import of_rank
from stemctx_core.lattice.naming import ExpectedRatio

Real = NDArray[np.float32]

#: A frame of fewer lattice rows cannot be judged.
FEWEST_ROWS: Final = 4.5
_FEWEST_PIXELS: Final = 16
#: Share of the pixels at each end that say nothing of where the others end.
_OUTLIERS: Final = 0.005


def prepared(image: NDArray[Any], expected_ratio: ExpectedRatio, pixel_size_angstrom: float | None) -> Real:
    """The frame as float32 of mean 0 and unit spread, single hot pixels cut, after the checks that need no lattice."""
    array = np.asarray(image)
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise InputError(
            f"A frame is a two-dimensional array of real numbers, this one has the shape {array.shape} and the type "
            f"{array.dtype}. Give one frame."
        )
    ratios = np.atleast_1d(expected_ratio)
    if not (np.isfinite(ratios).all() and ratios.min() > 0):
        raise InputError(f"The expected ratio X2/M is {expected_ratio}. Give a positive number.")
    if pixel_size_angstrom is not None and not (np.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise InputError(f"The pixel size is {pixel_size_angstrom} Å. Give a positive number, or none at all.")
    if min(array.shape) < _FEWEST_PIXELS:
        raise too_small(array.shape, None)
    low, high = float(np.min(array)), float(np.max(array))
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        raise LatticeError(
            "not_finite",
            f"{bad} of {array.size} pixels are not finite numbers.",
            "Give only rows that have been scanned, without NaN or infinity.",
        )
    if low == high:
        raise LatticeError(
            "no_lattice", "All pixels have the same value.", "Check that the detector is in and on."
        )
    some = array[::4, ::4].astype(np.float64)
    ends = round(_OUTLIERS * some.size)
    single = some.astype(np.float32)
    dark, bright = of_rank(single, ends), of_rank(single, some.size - 1 - ends)
    if bright > dark:
        low, high = dark - (bright - dark), bright + (bright - dark)
    np.clip(some, low, high, out=some)
    middle = float(some.mean())
    spread = float(some.std()) or high - low
    # Single precision holds what counts once the middle is off; of wide types it must go before.
    wide = array.dtype.itemsize > 4 or (array.dtype.kind in "iu" and array.dtype.itemsize == 4)
    frame: Real = (
        (array - middle).astype(np.float32)
        if wide
        else np.subtract(array, np.float32(middle), dtype=np.float32)
    )
    np.clip(frame, low - middle, high - middle, out=frame)
    frame *= np.float32(1 / spread)
    return frame


def too_small(shape: tuple[int, ...], rows: float | None) -> LatticeError:
    """What to say of a frame of a shape, and of so many lattice rows where that is known."""
    size = " x ".join(str(n) for n in shape)
    seen = "" if rows is None else f" and {rows:.1f} lattice rows"
    return LatticeError(
        "too_small",
        f"The frame has {size} pixels{seen}.",
        "Give at least five lattice rows (15 Å) in each direction.",
    )
