"""What a frame says of itself: gain, background, source size and ratio X2/M, from the host's columns.

A frame holds thousands of columns that are the host's own. Their mean patches are fitted with the simulated ones of
the declared context (what is left gives the noise: `stemctx_core.calibration.scatter`). So intensities need no detector calibration, and the declared
context is checked against the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.contrast.features import projection
from stemctx_core.contrast.mean_patches import FIT_RADIUS, OWN_COLUMN, HostMeans
from stemctx_core.contrast.neighbourhood import column_geometry, neighbourhood
from stemctx_core.contrast.patches import inside_disc, sample_offsets
from stemctx_core.errors import CalibrationError
from stemctx_core.kernels.compiled import compiled
from stemctx_core.kernels.small import solved
from stemctx_core.scene import host_columns
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import response_tables

SIGMA_GRID_ANGSTROM: Final = np.arange(0.25, 1.001, 0.05)
#: Largest misfit of the mean cell, as a fraction of its contrast, that is still taken for the declared host.
LARGEST_MISFIT: Final = 0.25
#: The frame's X2/M over the declared context's: outside the first pair it is not this host, outside the second
#: the declared angles do not fit.
PLAUSIBLE_RATIO: Final = (0.5, 2.0)
FITTING_RATIO: Final = (0.88, 1.12)

#: The expected ratio is that of the next source size in these steps: within 0.1 % of its own.
_SIGMA_STEP_ANGSTROM = 0.0025
#: What a column loses by its likeliest defect, one missing chalcogen.
_VACANCY_LOSS = 0.5


@dataclass(frozen=True)
class FrameCalibration:
    """The frame's own scale.

    Attributes
    ----------
    gain
        Intensity units per fraction of the beam.
    background
        Intensity where nothing scatters.
    sigma_angstrom
        Effective source.
    ratio
        X2/M in the frame over X2/M expected.
    expected_ratio
        Peak of X2 over M for the context at this source size.
    misfit
        Root-mean-square difference of the mean patches from the fit, over their contrast.
    defects
        Share of the chalcogen columns that are not full ones, as far as their mean amplitude shows it.
    """

    gain: float
    background: float
    sigma_angstrom: float
    ratio: float
    expected_ratio: float
    misfit: float
    defects: float


def expected_ratio(library: ResponseLibrary, host: Host, optics: Optics) -> float:
    """Peak of a full chalcogen column over the metal's."""
    metal, chalcogen = response_tables(library, host_columns(host), optics)[:, 0]
    return float(chalcogen / metal)


@lru_cache(maxsize=256)
def _expected_ratio(library: ResponseLibrary, host: Host, optics: Optics, steps: int) -> float:
    """`expected_ratio` at a source size of so many steps, which frames of one field share."""
    return expected_ratio(library, host, replace(optics, sigma_angstrom=steps * _SIGMA_STEP_ANGSTROM))


def calibrate(library: ResponseLibrary, host: Host, optics: Optics, means: HostMeans) -> FrameCalibration:
    """Fit gain, background, source size and the ratio of the sublattices to the mean patches.

    Parameters
    ----------
    optics
        The declared probe and detector; its source size is not used.

    Raises
    ------
    CalibrationError
        Columns that are not those of the declared host and context.
    """
    target = means.discs[:, _fitted()[inside_disc()]].ravel()
    shapes, products, signal = _templates(library, host, optics)
    level = float(target.mean())  # off first, so that no digits are lost where the detector has a large offset
    varied = target - level
    seen, power = shapes @ varied, float(varied @ varied)
    # Neighbours of a host column are a little less than the host's own on the mean, since some are defects.
    neighbours = np.ones(2)
    for _ in range(2):
        _, left = _fit(products, seen, power, neighbours)
        sigma = _minimum(SIGMA_GRID_ANGSTROM, left)
        low = min(int(np.searchsorted(SIGMA_GRID_ANGSTROM, sigma, side="right")) - 1, len(shapes) - 2)
        share = (sigma - SIGMA_GRID_ANGSTROM[low]) / (SIGMA_GRID_ANGSTROM[low + 1] - SIGMA_GRID_ANGSTROM[low])
        shape = (shapes[low] * (1 - share) + shapes[low + 1] * share)[None]
        product, against = shape @ shape.transpose(0, 2, 1), shape @ varied
        ((gain, chalcogen_gain, background),), (rest,) = _fit(product, against, power, neighbours)
        own_signal = (signal[low] * (1 - share) + signal[low + 1] * share) * (gain, chalcogen_gain)
        neighbours = np.clip(1 + means.shortfall / np.where(own_signal > 0, own_signal, np.inf), 0.5, 1.5)
    background += level
    misfit = float(np.sqrt(rest / len(target))) / (float(np.ptp(target)) or 1.0)
    if not (gain > 0 and chalcogen_gain > 0 and misfit <= LARGEST_MISFIT):
        raise CalibrationError(
            "calibration",
            f"The mean unit cell is not that of {host.name} under this detector (misfit {misfit:.0%}).",
            "Check the host, the detector angles and that this is an annular dark-field image of a monolayer.",
        )
    ratio = float(chalcogen_gain / gain)
    fitted = _expected_ratio(library, host, optics, round(sigma / _SIGMA_STEP_ANGSTROM))
    if not PLAUSIBLE_RATIO[0] < ratio < PLAUSIBLE_RATIO[1]:
        raise CalibrationError(
            "calibration",
            f"X2/M is {ratio * fitted:.2f} in the frame, {fitted:.2f} is expected for {host.name} in this context.",
            "Check the host and the detector angles.",
        )
    defects = float(np.clip((1 - neighbours[1]) / _VACANCY_LOSS, 0.01, 0.1))
    return FrameCalibration(float(gain), float(background), sigma, ratio, fitted, misfit, defects)


@compiled()
def _fit(products, seen, power, neighbours):  # type: ignore[no-untyped-def]  # numba infers types
    """Gains of the two sublattices and the background, (t, 3), for each of t source sizes; (t,) sums of squares left.

    Parameters
    ----------
    products
        (t, 5, 5) of the shapes of `_templates` with each other.
    seen
        (t, 5) of the shapes with the target.
    power
        Sum of squares of the target.
    neighbours
        (2,) what the columns around are of the host's own.
    """
    # What each shape counts with, and for which of the three.
    share, of = np.ones(5), np.array([0, 1, 0, 1, 2])
    share[2], share[3] = neighbours[0], neighbours[1]
    solution, left = np.empty((len(products), 3)), np.empty(len(products))
    for t in range(len(products)):
        gram, right = np.zeros((3, 3)), np.zeros((3, 1))
        for i in range(5):
            right[of[i], 0] += share[i] * seen[t, i]
            for j in range(5):
                gram[of[i], of[j]] += share[i] * share[j] * products[t, i, j]
        found = solved(gram, right)
        explained = 0.0
        for i in range(3):
            solution[t, i] = found[i, 0]
            explained += found[i, 0] * right[i, 0]
        left[t] = max(power - explained, 0.0)
    return solution, left


def _minimum(at: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Place of the minimum of a sampled curve by a parabola through the lowest three."""
    i = min(max(int(np.argmin(values)), 1), len(at) - 2)
    low, mid, high = values[i - 1 : i + 2]
    curvature = low - 2 * mid + high
    step = 0.5 * (low - high) / curvature if curvature > 0 else 0.0
    place = at[i] + min(max(step, -1.0), 1.0) * (at[1] - at[0])
    return float(min(max(place, at[0]), at[-1]))


@lru_cache(maxsize=8)
def _templates(
    library: ResponseLibrary, host: Host, optics: Optics
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Patches of the perfect host for every source size on the grid.

    Returns
    -------
    shapes
        (source sizes, 5, 2 × samples that are fitted): what the metal and the chalcogen sublattice contribute to the
        patch around a metal site and, after it, around a chalcogen site, by the site's own column and then by all
        others; and a constant.
    products
        (source sizes, 5, 5) of them with each other.
    signal
        (source sizes, 2): central feature of a sublattice's own column.
    """
    samples = len(sample_offsets())
    own = np.zeros((len(SIGMA_GRID_ANGSTROM), 2, 2 * samples))
    around = np.zeros_like(own)
    for s, sigma in enumerate(SIGMA_GRID_ANGSTROM):
        tables = response_tables(library, host_columns(host), replace(optics, sigma_angstrom=float(sigma)))
        for c, centre in enumerate(Sublattice):
            on_metal = neighbourhood(centre).on_metal
            geometry = column_geometry(centre, host.a_angstrom)
            here = slice(c * samples, (c + 1) * samples)
            own[s, c, here] = geometry.patches(tables[c], np.zeros(1, np.intp))[0]
            for k, chosen in enumerate((np.flatnonzero(on_metal), np.flatnonzero(~on_metal))):
                around[s, k, here] = geometry.patches(tables[k], chosen[chosen > 0]).sum(axis=0)
    signal = np.stack(
        [own[:, c, c * samples : (c + 1) * samples] @ projection()[OWN_COLUMN] for c in (0, 1)], axis=1
    )
    fitted = np.tile(_fitted(), 2)
    constant = np.ones((len(own), 1, np.count_nonzero(fitted)))
    shapes = np.concatenate([own[:, :, fitted], around[:, :, fitted], constant], axis=1)
    return shapes, shapes @ shapes.transpose(0, 2, 1), signal


@lru_cache(maxsize=1)
def _fitted() -> NDArray[np.bool_]:
    """(SAMPLES,) the samples of a mean patch that are fitted."""
    fitted: NDArray[np.bool_] = np.linalg.norm(sample_offsets(), axis=1) < FIT_RADIUS
    return fitted
