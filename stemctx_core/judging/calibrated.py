"""Whether a frame shows the host's columns as an earlier one did, so that its calibration still holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.calibrate import FrameCalibration
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.kernels.robust import medians, robust_sds

#: Change of a typical feature, in units of the reference, that is let pass beside what noise explains: half of what a
#: calibration is trusted to.
_LET_PASS: Final = 0.004
#: Mean square of the changes over what is expected of them; none of 416 unchanged frames is above.
_MOST: Final = 1.8
#: Sites of a sublattice from which what is typical of it is known.
_FEWEST: Final = 100
#: Standard error of a median over that of a mean.
_OF_MEDIAN: Final = 1.2533


@dataclass(frozen=True, eq=False)
class CalibratedFrame:
    """A frame that was calibrated by itself.

    Attributes
    ----------
    features
        (n, FEATURES) of its sites, in units of the reference.
    sublattice
        (n,) 0 metal, 1 chalcogen.
    """

    calibration: FrameCalibration
    features: NDArray[np.float32]
    sublattice: NDArray[np.int8]

    def holds(self, features: NDArray[np.float32], sublattice: NDArray[np.int8]) -> bool:
        """Whether the typical columns of another frame, calibrated as this one was, are those of this one."""
        before, here = (
            np.bincount(kinds, minlength=len(Sublattice)) for kinds in (self.sublattice, sublattice)
        )
        if before.min() < _FEWEST or not here.all():
            return False
        typical, error = self._typical
        now = np.stack([medians(c) for c in _columns(features, sublattice)])
        change = (now - typical) ** 2 / (2 * error**2 + _LET_PASS**2)
        return bool(np.mean(change) < _MOST)

    @cached_property
    def _typical(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(2, FEATURES) medians of the features of both sublattices, and their standard errors."""
        columns = _columns(self.features, self.sublattice)
        errors = [_OF_MEDIAN * robust_sds(c) / np.sqrt(c.shape[1]) for c in columns]
        return np.stack([medians(c) for c in columns]), np.stack(errors)


def _columns(features: NDArray[np.float32], sublattice: NDArray[np.int8]) -> list[NDArray[np.float32]]:
    """(FEATURES, sites) of each sublattice."""
    return [features[sublattice == code].T for code in range(len(Sublattice))]
