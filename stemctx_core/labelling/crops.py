"""Pictures of a site as an annotator sees it: grey, of one brightness for the whole frame, nothing drawn in."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from stemctx_core.contrast.patches import HALF_WIDTH, SIDE

#: Pixels of a picture; a browser makes it larger.
PICTURE_PX: Final = 288
#: Width of the surroundings in lattice constants: about twelve columns each way.
SURROUNDINGS: Final = 12.0
#: Width of the picture itself: that of the patch that the model sees.
WIDTH: Final = 2 * HALF_WIDTH
_PERCENTILES: Final = (0.5, 99.8)


def levels(image: NDArray[Any]) -> tuple[float, float]:
    """Intensities that are shown black and white, the same for all sites of a frame."""
    finite = image[np.isfinite(image)]
    low, high = (float(v) for v in np.percentile(finite, _PERCENTILES)) if finite.size else (0.0, 1.0)
    return low, max(high, low + 1e-12)


def crop(
    image: NDArray[Any], centre_px: tuple[float, float], width_px: float, shown: tuple[float, float]
) -> bytes:
    """PNG of a square of a frame, in the orientation of the scan; beyond the frame it is black.

    Parameters
    ----------
    image
        (height, width) intensities.
    centre_px, width_px
        y, x of the middle, and the side, in pixels of the frame.
    shown
        Intensities that are black and white.
    """
    steps = ((np.arange(PICTURE_PX) + 0.5) / PICTURE_PX - 0.5) * width_px
    # Of a large frame only what is needed is interpolated, with a margin for the spline.
    top, left = (max(0, int(c - width_px / 2) - 8) for c in centre_px)
    bottom, right = (int(c + width_px / 2) + 9 for c in centre_px)
    part = np.nan_to_num(np.asarray(image[top:bottom, left:right], np.float32), nan=shown[0])
    y, x = np.meshgrid(centre_px[0] - top + steps, centre_px[1] - left + steps, indexing="ij")
    return _png(map_coordinates(part, [y, x], order=3, mode="constant", cval=shown[0]), shown)


def patch_picture(patch: NDArray[np.floating[Any]]) -> bytes:
    """PNG of a (SIDE, SIDE) lattice-registered patch, for a site of which nothing else is known."""
    steps = (np.arange(PICTURE_PX) + 0.5) / PICTURE_PX * SIDE - 0.5
    values = map_coordinates(patch, np.meshgrid(steps, steps, indexing="ij"), order=1, mode="nearest")
    inside = patch[patch != 0]
    return _png(values, levels(inside if inside.size else patch))


def _png(values: NDArray[Any], shown: tuple[float, float]) -> bytes:
    grey = np.clip((values - shown[0]) / (shown[1] - shown[0]), 0, 1)
    png = io.BytesIO()
    Image.fromarray(np.rint(255 * grey).astype(np.uint8)).save(png, "PNG")
    return png.getvalue()
