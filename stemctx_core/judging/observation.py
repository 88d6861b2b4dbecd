"""What a frame, or several of one field, showed of each site, before it is said what stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.calibrate import FrameCalibration
from stemctx_core.calibration.scatter import Scatter
from stemctx_core.context import ImagingContext
from stemctx_core.encoding.prediction import Predictions
from stemctx_core.judging.calibrated import CalibratedFrame
from stemctx_core.judging.view import Sites
from stemctx_core.lattice import SiteGrid


@dataclass(frozen=True)
class Observation:
    """The sites of a field in units of its own columns.

    Attributes
    ----------
    obstacle
        (n,) int8 index into `stemctx_core.judging.decision.OBSTACLES`: why a site is not judged, 0 where it is.
    features
        (m, FEATURES) of the m sites without an obstacle, in units of the reference; where several frames were added up, their mean.
    frames
        (m,) int32 how many that were.
    level
        Background in units of the reference.
    warnings
        What is to be said of the frame already.
    grid
        The lattice; None where only patches were given.
    calibrated
        The frame that it is calibrated by, itself or an earlier one; None where its calibration holds for no other.
    """

    sites: Sites
    obstacle: NDArray[np.int8]
    context: ImagingContext
    features: NDArray[np.float32]
    frames: NDArray[np.int32]
    calibration: FrameCalibration
    predictions: Predictions
    level: float
    warnings: tuple[str, ...] = ()
    grid: SiteGrid | None = None
    calibrated: CalibratedFrame | None = None

    @property
    def judged(self) -> NDArray[np.intp]:
        """(m,) which sites the features are of."""
        return np.flatnonzero(self.obstacle == 0)

    @property
    def usual_frames(self) -> int:
        """Frames behind most of the sites."""
        return int(np.bincount(self.frames).argmax()) if len(self.frames) else 1


@dataclass(frozen=True)
class FrameScale:
    """What a frame said of itself, by which more rows of it can be judged.

    Attributes
    ----------
    scatter
        Noise and random nuisances of a single frame.
    """

    calibration: FrameCalibration
    scatter: Scatter
