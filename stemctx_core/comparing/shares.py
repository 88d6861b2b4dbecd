"""The amplitude noise of one scan that two detectors saw: what they share is the beam's, the rest each one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from stemctx_core.comparing.host_summary import relative_amplitudes
from stemctx_core.comparing.views import FrameView
from stemctx_core.errors import InputError

#: Sites of two detectors' frames that are nearer than this are one.
_SAME_SITE_ANGSTROM: Final = 0.8
#: What varies over more columns than these is contamination, not noise.
_NEIGHBOURS: Final = 19
#: A column's feature holds some of its neighbours, whose noise goes with its own: simulated noise of 0.08 is measured
#: so many times as large.
_WITH_NEIGHBOURS: Final = 1.2


@dataclass(frozen=True)
class NoiseShares:
    """Scatter of the columns' amplitudes in two detectors of one scan, standard deviations relative to a column.

    Attributes
    ----------
    common
        The same in both: the beam.
    first, second
        Each detector's own, counting noise included.
    """

    common: float
    first: float
    second: float


def noise_shares(one: FrameView, other: FrameView) -> NoiseShares:
    """Split the amplitude noise of one scan that two detectors saw.

    Counting noise of two detectors is independent, so that what their columns share is not of it.

    Raises
    ------
    InputError
        Frames that are not of one scan.
    """
    first, second = one.lattice, other.lattice
    away, nearest = cKDTree(second.positions_px).query(first.positions_px)
    same = away * first.grid.pixel_size_angstrom < _SAME_SITE_ANGSTROM
    same &= first.sublattice == second.sublattice[nearest]
    if first.image.shape != second.image.shape or same.mean() < 0.5:
        raise InputError("The detectors' frames are not of one scan. Give two images of the same scan.")
    pairs = np.stack([relative_amplitudes(one)[same], relative_amplitudes(other)[nearest[same]]])
    kept = np.isfinite(pairs).all(axis=0)
    pairs, places = pairs[:, kept], first.positions_px[same][kept]
    _, around = cKDTree(places).query(places, k=min(_NEIGHBOURS, len(places)))
    covariance = np.cov(pairs - pairs[:, around].mean(axis=2))
    common = max(float(covariance[0, 1]), 0.0)
    own = (float(np.sqrt(max(covariance[k, k] - common, 0.0))) for k in (0, 1))
    return NoiseShares(float(np.sqrt(common)) / _WITH_NEIGHBOURS, *own)
