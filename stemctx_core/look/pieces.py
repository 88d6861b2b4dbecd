"""Small squares cut out of a frame, as pictures for a report."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

_CONTRAST: Final = (0.5, 99.7)


def grey_levels(image: NDArray[Any]) -> tuple[float, float]:
    """What to show black and what white, so that a frame is seen well."""
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, _CONTRAST) if finite.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def piece_png(
    image: NDArray[Any],
    centre_px: tuple[float, float],
    side_px: float,
    levels: tuple[float, float] | None = None,
    pixels: int = 168,
) -> bytes:
    """Cut a square out of a frame, the given point in its middle; black beyond the border.

    Parameters
    ----------
    image
        (height, width) intensities.
    centre_px
        y, x.
    side_px
        Of the square in the frame's pixels.
    levels
        As `grey_levels` gives them; those of the frame where left out, which takes a look at all of it.
    pixels
        Along a side of the picture.
    """
    low, high = levels or grey_levels(image)
    if not image.size:
        image = np.full((1, 1), low)
    steps = ((np.arange(pixels) + 0.5) / pixels - 0.5) * side_px
    rows, columns = (np.rint(c + steps).astype(int) for c in centre_px)
    height, width = image.shape
    inside = np.ix_((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    piece = np.full((pixels, pixels), low, np.float32)
    piece[inside] = image[np.ix_(np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))][inside]
    png = io.BytesIO()
    imsave(png, np.nan_to_num(piece, nan=low), cmap="gray", vmin=low, vmax=high, format="png")
    return png.getvalue()
