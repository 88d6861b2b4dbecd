"""Radial profiles: from the simulated radii to a fine grid, and the two-dimensional Gaussian blur of them.

Both are linear, so that they are matrices made once. A profile of order m stands for f(r) cos(mθ).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import i0e, ive

PROFILE_STEP_ANGSTROM: Final = 0.05
PROFILE_RADII_ANGSTROM: Final = np.arange(0.0, 8.0, PROFILE_STEP_ANGSTROM)
#: Blurs are made at multiples of this and interpolated between: within 1e-4 of the peak of an exact blur.
BLUR_STEP_ANGSTROM: Final = 0.005


class FineRadii:
    """Cubic spline from simulated radii to `PROFILE_RADII_ANGSTROM`, with an exponential tail beyond the last one.

    Parameters
    ----------
    radii_angstrom
        Where profiles are given, from 0.
    """

    def __init__(self, radii_angstrom: NDArray[np.float64]) -> None:
        radii = radii_angstrom
        spline = CubicSpline(
            radii, np.eye(len(radii)), bc_type=((1, np.zeros(len(radii))), (2, np.zeros(len(radii))))
        )
        inside = spline(np.clip(PROFILE_RADII_ANGSTROM, 0, radii[-1]))
        tail = np.exp(-np.clip(PROFILE_RADII_ANGSTROM - radii[-1], 0, None))
        self._matrix: NDArray[np.float64] = (inside * tail[:, None]).T.copy()

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., radii) to (..., len(PROFILE_RADII_ANGSTROM))."""
        fine: NDArray[np.float64] = values @ self._matrix
        return fine


def blur(
    profiles: NDArray[np.float64], sigma_angstrom: NDArray[np.float64], order: int = 0
) -> NDArray[np.float64]:
    """Two-dimensional Gaussian blur of profiles, each with its own width.

    Parameters
    ----------
    profiles
        (n, len(PROFILE_RADII_ANGSTROM)).
    sigma_angstrom
        (n,) standard deviation per axis.
    order
        m of cos(mθ).

    Returns
    -------
    numpy.ndarray
        Like `profiles`; within 1e-4 of the peak of what `blur_matrix` gives.
    """
    blurred = np.empty_like(profiles)
    widths = np.asarray(sigma_angstrom, float)
    for width in np.unique(widths):
        rows = widths == width
        below = int(width / BLUR_STEP_ANGSTROM)
        low, at, high = (
            _falling(w) for w in (below * BLUR_STEP_ANGSTROM, width, (below + 1) * BLUR_STEP_ANGSTROM)
        )
        share = (low - at) / (low - high)
        some = profiles[rows]
        blurred[rows] = (
            some @ _grid_blur(below, order) * (1 - share) + some @ _grid_blur(below + 1, order) * share
        )
    return blurred


def _falling(sigma_angstrom: float) -> float:
    """How the peak of a Gaussian of 0.28 Å falls with the blur: profiles are nearly linear in this."""
    return 1 / (sigma_angstrom**2 + 0.08)


@lru_cache(maxsize=320)
def _grid_blur(step: int, order: int) -> NDArray[np.float64]:
    """Transposed blur matrix at a multiple of `BLUR_STEP_ANGSTROM`."""
    return np.ascontiguousarray(blur_matrix(step * BLUR_STEP_ANGSTROM, order).T)


def blur_matrix(sigma_angstrom: float, order: int = 0) -> NDArray[np.float64]:
    """Two-dimensional Gaussian blur of a radial profile as a matrix over `PROFILE_RADII_ANGSTROM`.

    K(r, q) = exp(-(r² + q²) / 2σ²) I_m(rq/σ²) q dq / σ², rows normalised by those of m = 0. A blur narrower than
    the step of the radii is taken as linear in σ².
    """
    radii = PROFILE_RADII_ANGSTROM
    if sigma_angstrom < PROFILE_STEP_ANGSTROM:
        still = np.eye(len(radii))
        share = (sigma_angstrom / PROFILE_STEP_ANGSTROM) ** 2
        return still if share == 0 else still + share * (blur_matrix(PROFILE_STEP_ANGSTROM, order) - still)
    to, of = radii[:, None], radii[None, :]
    variance = sigma_angstrom**2
    near = np.exp(-((to - of) ** 2) / (2 * variance))
    area = of * PROFILE_STEP_ANGSTROM
    area[:, 0] = PROFILE_STEP_ANGSTROM**2 / 8
    round_kernel = near * i0e(to * of / variance) * area
    kernel = round_kernel if order == 0 else near * ive(order, to * of / variance) * area
    blurred: NDArray[np.float64] = kernel / round_kernel.sum(axis=1, keepdims=True)
    return blurred


def rayleigh_weights(displacements: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Share of each tabulated displacement in the thermal (Rayleigh) distribution.

    Linear interpolation between tabulated displacements, integrated over the distribution with per-axis standard
    deviation `sigma` (Å); what lies beyond the last one counts to it.
    """
    fine = np.linspace(0, 6 * sigma, 2001)
    density = fine * np.exp(-(fine**2) / (2 * sigma**2))
    basis = np.stack([np.interp(fine, displacements, row) for row in np.eye(len(displacements))])
    shares: NDArray[np.float64] = basis @ density / density.sum()
    return shares
