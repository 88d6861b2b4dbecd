"""Inner and outer angles that give a host its X2/M: a ridge, of which a frame says only the ratio along it.

A frame cannot tell one pair of angles on the ridge from another; what is identified is the effective ratio. So the
ridge is offered whole, as a map and as the intervals that it spans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.materials import Host
from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.errors import LibraryError
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics

#: Relative error (standard deviation) of a simulated X2/M: thermal motion of the chalcogens makes up to 0.08 of it
#: at low angles and 0.02 at high ones, the convergence angle 0.035.
SIMULATED_RATIO_SD: Final = 0.05
#: Two-sided 90 % of a Gaussian.
NINETY: Final = 1.6449
_STEP_MRAD: Final = 5.0
_INNERMOST_MRAD: Final = 35.0
_INNER_END_MRAD: Final = 125.0
_SIGMA_STEP: Final = 0.05


@dataclass(frozen=True)
class Ridge:
    """Detector angles and the host's X2/M under each.

    Attributes
    ----------
    inner_mrad, outer_mrad
        (i,) and (o,) angles of the map.
    ratio
        (i, o) simulated X2/M, NaN where the library cannot answer.
    measured
        The frame's own X2/M.
    log_sd
        Error of its logarithm beside the simulated one's, standard deviation.
    """

    inner_mrad: NDArray[np.float64]
    outer_mrad: NDArray[np.float64]
    ratio: NDArray[np.float64]
    measured: float
    log_sd: float

    @property
    def away(self) -> NDArray[np.float64]:
        """(i, o) distance of each pair of angles from the frame's ratio, in standard deviations."""
        distance: NDArray[np.float64] = np.log(self.ratio / self.measured) / self.log_sd
        return distance

    @property
    def fits(self) -> NDArray[np.bool_]:
        """(i, o) which pairs of angles the 90 % interval of the ratio allows."""
        with np.errstate(invalid="ignore"):
            allowed: NDArray[np.bool_] = np.abs(self.away) < NINETY
        return allowed

    @property
    def inner_intervals(self) -> tuple[tuple[float, float], ...]:
        """Inner angles on the ridge; more than one interval where X2/M is not monotonic, none where no angles fit."""
        return _spans(self.inner_mrad, np.any(self.fits, axis=1))

    @property
    def outer_intervals(self) -> tuple[tuple[float, float], ...]:
        """Outer angles on the ridge."""
        return _spans(self.outer_mrad, np.any(self.fits, axis=0))

    def outer_given(self, inner_mrad: float) -> tuple[tuple[float, float], ...]:
        """Outer angles on the ridge for an inner one of the map."""
        return _spans(self.outer_mrad, self.fits[int(np.argmin(np.abs(self.inner_mrad - inner_mrad)))])

    def points(self) -> NDArray[np.float64]:
        """(n, 2) inner and outer angles on the ridge."""
        inner, outer = np.nonzero(self.fits)
        return np.stack([self.inner_mrad[inner], self.outer_mrad[outer]], axis=1)

    def nearest(self, inner_mrad: float, outer_mrad: float) -> tuple[float, float] | None:
        """The angles on the ridge's middle line that differ least from some, in mrad; None where no angles fit."""
        if not self.fits.any():
            return None
        # Half of what the interval allows: a point at its very edge would be no good offer.
        good = np.abs(np.where(np.isnan(self.ratio), np.inf, self.away)) < NINETY / 2
        inner, outer = np.nonzero(good if good.any() else self.fits)
        far = np.hypot(self.inner_mrad[inner] - inner_mrad, self.outer_mrad[outer] - outer_mrad)
        k = int(np.argmin(far))
        return float(self.inner_mrad[inner[k]]), float(self.outer_mrad[outer[k]])


def find_ridge(library: ResponseLibrary, host: Host, optics: Optics, measured: float, log_sd: float) -> Ridge:
    """Compare a frame's X2/M with that of every pair of angles the library answers for.

    Parameters
    ----------
    optics
        Energy, convergence and source; its angles are not used.
    measured
        The frame's own X2/M.
    log_sd
        Relative error of that, standard deviation; the simulation's own is added here.
    """
    sigma = round(optics.sigma_angstrom / _SIGMA_STEP) * _SIGMA_STEP
    inner, outer, ratio = _map(
        library, host, replace(optics, sigma_angstrom=sigma, inner_mrad=0.0, outer_mrad=0.0)
    )
    return Ridge(inner, outer, ratio, measured, float(np.hypot(log_sd, SIMULATED_RATIO_SD)))


@lru_cache(maxsize=16)
def _map(
    library: ResponseLibrary, host: Host, optics: Optics
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    inner = np.arange(_INNERMOST_MRAD, _INNER_END_MRAD, _STEP_MRAD)
    last = library.outer_limit_mrad(optics.high_tension_kv)
    outer = np.arange(_INNERMOST_MRAD + 5 * _STEP_MRAD, last + 1e-9, _STEP_MRAD)
    ratio = np.full((len(inner), len(outer)), np.nan)
    for i, low in enumerate(inner):
        for o, high in enumerate(outer):
            try:
                ratio[i, o] = host_ratio(
                    library, host, replace(optics, inner_mrad=float(low), outer_mrad=float(high))
                )
            except LibraryError:
                continue
    return inner, outer, ratio


def _spans(angles: NDArray[np.float64], chosen: Any) -> tuple[tuple[float, float], ...]:
    """First and last angle of every run of chosen ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    return tuple((float(angles[i]), float(angles[j - 1])) for i, j in edges.reshape(-1, 2))
