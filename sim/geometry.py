"""Where the pixels of a scan lie on the specimen.

Conventions are those of Nion's scan: for an offset (y, x) from the middle of the image and a rotation r, the
specimen is met at centre + (y cos r + x sin r, x cos r - y sin r). Moving the centre by +x shows what lies at larger
x, so that features move left; moving the stage by +x moves them right.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError

Pair = tuple[float, float]


class FrameGeometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pixels of one frame on the specimen; y, x throughout.

    Attributes
    ----------
    shape
        Height and width in pixels.
    pixel_size_nm
        Square pixels.
    centre_nm
        Point of the specimen in the middle of the image when the frame began: centre of the scan, stage, beam shift
        and drift together.
    rotation_rad
        Rotation of the scan.
    drift_nm_per_row
        How far the specimen moves while a row is scanned.
    """

    shape: tuple[int, int]
    pixel_size_nm: float
    centre_nm: Pair = (0.0, 0.0)
    rotation_rad: float = 0.0
    drift_nm_per_row: Pair = (0.0, 0.0)

    def to_px(self, positions_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) array-index coordinates of points of the specimen (nm), when the scan comes by."""
        at_start = (
            positions_nm - np.array(self.centre_nm)
        ) @ self._rotation / self.pixel_size_nm + self._middle
        drift_y, drift_x = self._drift_px_per_row
        # The row y at which a point is met solves y = y_start + drift_y * y.
        rows = at_start[:, 0] / (1 - drift_y)
        met: NDArray[np.float64] = np.stack([rows, at_start[:, 1] + drift_x * rows], axis=1)
        return met

    def to_specimen_nm(self, positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) points of the specimen (nm) at array-index coordinates."""
        at_start = positions_px - positions_px[:, :1] * self._drift_px_per_row
        offset = (at_start - self._middle) @ self._rotation.T * self.pixel_size_nm
        met: NDArray[np.float64] = offset + np.array(self.centre_nm)
        return met

    def bounds_nm(self, margin_nm: float) -> tuple[float, float, float, float]:
        """Rectangle of the specimen (y0, x0, y1, x1) that holds the frame and a margin around it."""
        height, width = self.shape
        corners = self.to_specimen_nm(
            np.array([[y, x] for y in (-0.5, height - 0.5) for x in (-0.5, width - 0.5)])
        )
        low, high = corners.min(axis=0) - margin_nm, corners.max(axis=0) + margin_nm
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def _middle(self) -> NDArray[np.float64]:
        middle: NDArray[np.float64] = (np.array(self.shape) - 1) / 2
        return middle

    @property
    def _rotation(self) -> NDArray[np.float64]:
        """(2, 2) such that offset on the specimen @ matrix = offset in the image."""
        c, s = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        return np.array([[c, s], [-s, c]])

    @property
    def _drift_px_per_row(self) -> NDArray[np.float64]:
        drift: NDArray[np.float64] = np.array(self.drift_nm_per_row) @ self._rotation / self.pixel_size_nm
        return drift


class ScanArea(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a scan device is asked for, subscans included.

    Attributes
    ----------
    context_shape
        Height and width of the whole scan in pixels.
    fov_nm
        Field of view along the longer side of the whole scan.
    centre_nm
        Of the whole scan.
    subscan_shape, subscan_fraction, subscan_centre, subscan_rotation_rad
        Pixels, size and centre (fractions of the whole scan) of a part of it, or None for the whole.
    """

    context_shape: tuple[int, int]
    fov_nm: float
    centre_nm: Pair = (0.0, 0.0)
    rotation_rad: float = 0.0
    subscan_shape: tuple[int, int] | None = None
    subscan_fraction: Pair | None = None
    subscan_centre: Pair | None = None
    subscan_rotation_rad: float = 0.0

    def geometry(
        self, specimen_offset_nm: Pair = (0.0, 0.0), drift_nm_per_row: Pair = (0.0, 0.0)
    ) -> FrameGeometry:
        """Where its pixels lie on a specimen that stands at an offset and drifts.

        The pixel size is the one that Nion's calibration of the frame states.

        Raises
        ------
        InputError
            For a frame without pixels or extent.
        """
        context = np.array(self.context_shape, float)
        shape = self.subscan_shape or self.context_shape
        if min(*self.context_shape, *shape) < 1 or not self.fov_nm > 0:
            raise InputError(
                f"A scan of {shape[0]} × {shape[1]} pixels over {self.fov_nm:g} nm has no extent. Give sizes above 0."
            )
        longer = int(self.context_shape[0] <= self.context_shape[1])
        fraction = self.subscan_fraction or (1.0, 1.0)
        extent_nm = context / context.max() * self.fov_nm
        offset = (np.array(self.subscan_centre or (0.5, 0.5)) - 0.5) * extent_nm
        c, s = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        turned = np.array([offset[0] * c + offset[1] * s, offset[1] * c - offset[0] * s])
        centre = np.array(self.centre_nm) + turned - np.array(specimen_offset_nm)
        return FrameGeometry(
            shape=shape,
            pixel_size_nm=self.fov_nm * fraction[longer] / shape[longer],
            centre_nm=(float(centre[0]), float(centre[1])),
            rotation_rad=self.rotation_rad - self.subscan_rotation_rad,
            drift_nm_per_row=drift_nm_per_row,
        )
