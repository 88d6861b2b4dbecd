"""The host's columns of a frame in eleven numbers, each with a knob of the simulation that moves it."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.comparing.views import FrameView


class HostSummary(msgspec.Struct, frozen=True):
    """What a simulation has to give as well.

    Attributes
    ----------
    ratio
        X2/M: the detector's angles.
    sigma_angstrom
        Width of the columns, jitter of their places included: the effective source.
    dose_e_per_angstrom2
        By the counting noise.
    level
        Background in units of the brighter host column: haze, or the detector's black level.
    amplitude
        Scatter of the columns' amplitudes beyond counting noise: common-mode noise of the beam.
    fast_correlation
        Of the amplitudes of columns 3.3 Å apart along the fast axis: how far that noise reaches along a line.
    slow_correlation
        The same across the lines.
    pixel_correlation
        Of the noise of neighbouring pixels of a line: the amplifier.
    slow_sd
        Of what varies over several cells, in units of the brighter host column: contamination.
    jitter_angstrom
        Displacement of single columns.
    defects
        Share of the chalcogen columns that are not whole ones.
    """

    ratio: float
    sigma_angstrom: float
    dose_e_per_angstrom2: float
    level: float
    amplitude: float
    fast_correlation: float
    slow_correlation: float
    pixel_correlation: float
    slow_sd: float
    jitter_angstrom: float
    defects: float


#: Columns so far apart (Å) along an axis, and no farther to its side, are neighbours along it.
_ALONG: Final = (2.4, 4.2)
_BESIDE_ANGSTROM: Final = 1.2


def host_summary(view: FrameView) -> HostSummary:
    """Measure a frame."""
    lattice, scatter = view.lattice, view.lattice.scatter
    fast, slow = (_neighbour_correlation(view, axis) for axis in (1, 0))
    return HostSummary(
        ratio=lattice.ratio,
        sigma_angstrom=lattice.calibration.sigma_angstrom,
        dose_e_per_angstrom2=scatter.dose_e_per_angstrom2,
        level=lattice.level,
        amplitude=scatter.nuisance.amplitude,
        fast_correlation=fast,
        slow_correlation=slow,
        pixel_correlation=view.left.correlation(0, 1),
        slow_sd=view.left.slow_sd,
        jitter_angstrom=scatter.nuisance.jitter_angstrom,
        defects=lattice.calibration.defects,
    )


def relative_amplitudes(view: FrameView) -> NDArray[np.float64]:
    """(m,) amplitude of each column over its sublattice's, less 1; NaN where it stands out."""
    lattice = view.lattice
    usual = np.where(lattice.sublattice == 0, 1.0, lattice.ratio)
    return np.where(lattice.host_like, view.amplitude / usual - 1, np.nan)


def _neighbour_correlation(view: FrameView, axis: int) -> float:
    """Of the amplitudes of columns beside each other along an axis, counting noise included."""
    value = relative_amplitudes(view)
    places = view.lattice.positions_px * view.lattice.grid.pixel_size_angstrom
    kept = np.isfinite(value)
    value, places = value[kept], places[kept]
    one, other = cKDTree(places).query_pairs(_ALONG[1], output_type="ndarray").T
    apart = np.abs(places[one] - places[other])
    near = (apart[:, axis] > _ALONG[0]) & (apart[:, 1 - axis] < _BESIDE_ANGSTROM)
    value = value - value.mean()
    # Columns stand out by three standard deviations at most, so plain moments are robust enough.
    product = value[one[near]] * value[other[near]]
    return float(product.mean() / value.var()) if near.any() else 0.0
