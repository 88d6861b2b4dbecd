"""Whether flags are right as often as their probability says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.generator import GroundTruth
from sim.scoring import flags_at_sites
from stemctx_core.results import FrameResult

_BINS: Final = 10


def _none() -> NDArray[np.float64]:
    return np.zeros(_BINS)


@dataclass(frozen=True, eq=False)
class FlagCalibration:
    """Flags by stated probability, in ten bins; of one frame or, added up, of several.

    Attributes
    ----------
    flags, stated, right
        (10,) number of flags, sum of their probabilities, and how many name the true species.
    """

    flags: NDArray[np.float64] = field(default_factory=_none)
    stated: NDArray[np.float64] = field(default_factory=_none)
    right: NDArray[np.float64] = field(default_factory=_none)

    def __add__(self, other: FlagCalibration) -> FlagCalibration:
        return FlagCalibration(self.flags + other.flags, self.stated + other.stated, self.right + other.right)

    @property
    def mean_stated(self) -> float | None:
        """Mean probability that flags stated; None without flags."""
        return float(self.stated.sum() / self.flags.sum()) if self.flags.sum() else None

    @property
    def error(self) -> float | None:
        """Expected calibration error: mean distance of stated and true share of the bins, weighted by their flags."""
        total = self.flags.sum()
        return float(np.abs(self.stated - self.right).sum() / total) if total else None


def calibration(result: FrameResult, truth: GroundTruth) -> FlagCalibration:
    """Compare what the flags of a frame state with what stands there; which flags count is as in `score`."""
    flags, site, counts = flags_at_sites(result, truth)
    flags, site = flags[counts], site[counts]
    stated = result.sites.probability[flags].astype(np.float64)
    named = np.array([result.species(int(i)) for i in flags], dtype=str)
    right = np.zeros(len(flags), bool)
    at_site = site >= 0
    right[at_site] = (named[at_site] == truth.species[site[at_site]]) & truth.is_defect[site[at_site]]
    place = np.minimum((stated * _BINS).astype(int), _BINS - 1)
    weights = (np.ones(len(flags)), stated, right)
    return FlagCalibration(*(np.bincount(place, w, _BINS).astype(np.float64) for w in weights))
