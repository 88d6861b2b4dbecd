"""What a frame must be before it is looked at, and what its pixel size must agree with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import FrameError

#: Calibrated pixel size against the lattice: told beyond the first, refused beyond the second.
PIXEL_SIZE_TOLD: Final = 0.05
PIXEL_SIZE_REFUSED: Final = 0.15
SMALLEST_SIDE_PX: Final = 24


def check_image(image: NDArray[Any]) -> None:
    """Raise `FrameError` for what is not an image that could be judged."""
    if image.ndim != 2 or image.dtype.kind not in "uif":
        raise FrameError(
            "not_an_image",
            f"The frame is {image.ndim}-dimensional of type {image.dtype}; two dimensions of real numbers are needed.",
            "Choose one image of the stack or one channel.",
        )
    if min(image.shape) < SMALLEST_SIDE_PX:
        raise FrameError(
            "too_small",
            f"The frame has {image.shape[0]} × {image.shape[1]} pixels.",
            f"At least {SMALLEST_SIDE_PX} rows and columns are needed.",
        )
    if not np.isfinite(image).all():
        raise FrameError(
            "not_finite",
            f"{np.count_nonzero(~np.isfinite(image))} pixels are NaN or infinite.",
            "Crop them away, or check the detector.",
        )
    if np.ptp(image) == 0:
        raise FrameError(
            "constant", "All pixels have the same value.", "Is the beam blanked or the detector out?"
        )


def pixel_size_words(found: float, hint: float | None) -> list[str]:
    """What to say of a pixel size that was given (Å) beside the one found from the lattice.

    Raises
    ------
    FrameError
        Where they are so far apart that calibration or host must be wrong.
    """
    if hint is None:
        return [f"No pixel size was given; {found:.4f} Å follows from the lattice."]
    off = found / hint - 1
    words = f"The given pixel size {hint:.4f} Å differs by {off:+.1%} from {found:.4f} Å by the lattice"
    if abs(off) > PIXEL_SIZE_REFUSED:
        raise FrameError("pixel_size_mismatch", words + ".", "Check the calibration and the host.")
    return [words + "; the lattice is used."] if abs(off) > PIXEL_SIZE_TOLD else []
