"""Whether a frame shows the host's columns as an earlier one did, so that its calibration still holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.calibrate import FrameCalibration
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.kernels.compiled import compiled
from stemctx_core.kernels.order import median

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
        typical, error = self._typical
        if np.isnan(error).any():
            return False
        now = np.stack([_medians(features, rows) for rows in _rows(sublattice)])
        change = (now - typical) ** 2 / (2 * error**2 + _LET_PASS**2)
        return bool(np.mean(change) < _MOST)  # not where there are none

    @cached_property
    def _typical(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(2, FEATURES) medians of the features of both sublattices, and their standard errors; NaN of too few sites."""
        medians, errors = [], []
        for rows in _rows(self.sublattice):
            middle = _medians(self.features, rows)
            away = np.abs(self.features - middle.astype(np.float32))
            spread = 1.4826 * _medians(away, rows)
            medians.append(middle)
            errors.append(_OF_MEDIAN * spread / np.sqrt(len(rows)) if len(rows) >= _FEWEST else np.nan * spread)
        return np.stack(medians), np.stack(errors)


def _rows(sublattice: NDArray[np.int8]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(sublattice == code) for code in range(len(Sublattice))]


@compiled()
def _medians(features, rows):  # type: ignore[no-untyped-def]  # numba infers types
    """(K,) medians of the columns of (n, K) float32 features over some rows; NaN over none."""
    medians = np.full(features.shape[1], np.nan)
    values = np.empty(len(rows), np.float32)
    if len(rows):
        for k in range(features.shape[1]):
            for n in range(len(rows)):
                values[n] = features[rows[n], k]
            medians[k] = median(values)
    return medians
