"""What a frame must be before it is looked at, and what its pixel size must agree with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from stemctx_core.errors import FrameError

#: Calibrated pixel size against the lattice: told beyond the first, refused beyond the second.
PIXEL_SIZE_TOLD: Final = 0.02
PIXEL_SIZE_REFUSED: Final = 0.05
SMALLEST_SIDE_PX: Final = 24
#: Mean difference between pixels of a row, over that of lively rows, below which the beam was blanked.
_BLANK: Final = 0.25
#: Which rows are called lively: a part of the rows, those with contamination or a hot pixel, is livelier still.
_LIVELY: Final = 0.9
#: Share of the pixels at the greatest or the least value from which a detector is said to be at its limit.
CLIPPED: Final = 0.01
#: A least value met this many times as often as the next is a limit; counts have many zeros, but many ones too.
_PILE: Final = 10


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
    lowest, highest = image.min(), image.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise FrameError(
            "not_finite",
            f"{np.count_nonzero(~np.isfinite(image))} pixels are NaN or infinite.",
            "Crop them away, or check the detector.",
        )
    if lowest == highest:
        raise FrameError(
            "constant", "All pixels have the same value.", "Is the beam blanked or the detector out?"
        )


def blank_rows(image: NDArray[Any], period_px: float) -> NDArray[np.bool_]:
    """(height,) rows without contrast, such as those after the beam was blanked; `period_px` is the lattice's."""
    rows = max(3, int(np.ceil(period_px)))
    # Between two rows of atoms there may be little contrast too, over a whole period there is.
    one, other = (image[:, first::8].astype(np.float32) for first in (0, 2))  # some of them tell
    differences = np.abs(other - one[:, : other.shape[1]])
    contrast = uniform_filter1d(differences.mean(axis=1), rows)
    lively = int(_LIVELY * len(contrast))
    blank: NDArray[np.bool_] = contrast < _BLANK * np.partition(contrast, lively)[lively]
    near: NDArray[np.bool_] = uniform_filter1d(blank.astype(float), 2 * rows + 1) > 0.5 / (2 * rows + 1)
    return near


def clipped_words(image: NDArray[Any]) -> list[str]:
    """What to say of a frame whose intensities end at a limit of the detector: what is beyond it is lost."""
    image = image[::4]  # enough of them for shares
    high, low = (np.count_nonzero(image == limit) / image.size for limit in (image.max(), image.min()))
    words = []
    if high > CLIPPED:
        words.append(
            f"{high:.0%} of the pixels are at the greatest value: the detector is saturated. Lower its gain."
        )
    if low > CLIPPED:
        above = image[image > image.min()].min()
        if low > _PILE * float(np.mean(image == above)):
            words.append(
                f"{low:.0%} of the pixels are cut off at the least value. Raise the detector's offset."
            )
    return words


def pixel_size_words(found: float, hint: float | None, host: str) -> list[str]:
    """What to say of a pixel size that was given (Å) beside the one found from the lattice of the declared host.

    Raises
    ------
    FrameError
        Where they are so far apart that calibration or host must be wrong.
    """
    if hint is None:
        return [f"No pixel size was given; {found:.4f} Å follows from the lattice."]
    off = found / hint - 1
    words = (
        f"The given pixel size {hint:.4f} Å differs by {off:+.1%} from {found:.4f} Å by the lattice of {host}"
    )
    if abs(off) > PIXEL_SIZE_REFUSED:
        raise FrameError("pixel_size_mismatch", words + ".", "Check the calibration and the host.")
    return [words + "; the lattice is used."] if abs(off) > PIXEL_SIZE_TOLD else []
