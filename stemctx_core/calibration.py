"""What a frame says of itself: gain, background, source size, ratio X2/M, dose and scatter, from the host's columns.

A frame holds thousands of columns that are the host's own. Their mean patches are fitted with the simulated ones of
the declared context; what is left gives the noise. So intensities need no detector calibration, and the declared
context is checked against the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, nnls
from scipy.spatial import cKDTree

from stemctx_core.classes import Sublattice
from stemctx_core.encoding import Nuisance, Predictions, host_columns
from stemctx_core.errors import CalibrationError
from stemctx_core.features import projection
from stemctx_core.materials import Host
from stemctx_core.neighbourhood import column_geometry, neighbourhood
from stemctx_core.patches import inside_disc, sample_offsets, weighted_sums
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import Optics, response_tables

SIGMA_GRID_ANGSTROM: Final = np.arange(0.25, 1.001, 0.05)
FEWEST_SITES: Final = 12
#: Largest misfit of the mean cell, as a fraction of its contrast, that is still taken for the declared host.
LARGEST_MISFIT: Final = 0.25
#: The frame's X2/M over the declared context's: outside the first pair it is not this host, outside the second
#: the declared angles do not fit.
PLAUSIBLE_RATIO: Final = (0.5, 2.0)
FITTING_RATIO: Final = (0.88, 1.12)

#: Feature that measures a site's own column: the Gaussian-weighted mean of 0.55 Å.
OWN_COLUMN: Final = 2
#: Patches that are changed at a time.
_CHUNK = 1024
#: What a column loses by its likeliest defect, one missing chalcogen.
_VACANCY_LOSS = 0.5
_LARGEST_COUNTED_BACKGROUND = 1.0
#: Slow fields are looked at in about so many places of a frame at most, at one site in so many at most, and
#: interpolated between them.
_ANCHORS = 800
_SITES_AN_ANCHOR = 8
#: So many sites share the columns of a patch; where there are more than the second number, some are passed over.
_OVERLAP = 12
_FITTED_SITES = 512
#: Sites of a sublattice whose scatter is measured at most: it is then known to 2 %, and the dose with it.
_SCATTERED_SITES = 2048
#: Columns of one kind scatter by 0.05 to 0.11 in real frames; more would be counting noise taken for scatter.
LARGEST_AMPLITUDE_SD: Final = 0.12
_ROUNDS = 4
_FIT_RADIUS = 1.15
_CENTRE_RADIUS = 0.33


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


@dataclass(frozen=True)
class Scatter:
    """What the residuals of the host's columns say: counting noise, and scatter beyond it.

    Attributes
    ----------
    dose_e_per_angstrom2, background
        Electrons per area, and the uniform intensity (in units of the reference) whose counting noise is there too.
    nuisance
        Sizes of the random nuisances; the others as given.
    """

    dose_e_per_angstrom2: float
    background: float
    nuisance: Nuisance


def expected_ratio(library: ResponseLibrary, host: Host, optics: Optics) -> float:
    """Peak of a full chalcogen column over the metal's."""
    metal, chalcogen = response_tables(library, host_columns(host), optics)[:, 0]
    return float(chalcogen / metal)


@dataclass(frozen=True)
class HostMeans:
    """Mean patches of the columns that do not stand out of their sublattice, metal first.

    Attributes
    ----------
    patches
        (2, SAMPLES) in intensity units.
    shortfall
        (2,) mean level of all columns of a sublattice over that of those.
    """

    patches: NDArray[np.float64]
    shortfall: NDArray[np.float64]


def host_means(
    patches: NDArray[np.float32], own_level: NDArray[np.float32], sublattice: NDArray[np.int8]
) -> HostMeans:
    """Mean patches of the host's columns, without copying any.

    Parameters
    ----------
    patches
        (n, SAMPLES) whole patches.
    own_level
        (n,) feature `OWN_COLUMN` of each.
    sublattice
        (n,) 0 metal, 1 chalcogen.

    Raises
    ------
    CalibrationError
        Too few sites.
    """
    weights = np.zeros(len(patches), np.float32)
    shortfall = np.zeros(2)
    for code in (0, 1):
        mine = sublattice == code
        if np.count_nonzero(mine) < FEWEST_SITES:
            raise CalibrationError(
                "too_few_sites",
                f"Only {np.count_nonzero(mine)} whole patches on one sublattice, {FEWEST_SITES} are needed.",
                "Use a larger field of view, or wait for more rows.",
            )
        kept = _host_like(own_level, mine)
        weights[kept] = 1 / np.count_nonzero(kept)
        shortfall[code] = float(own_level[mine].mean() - own_level[kept].mean())
    sums = weighted_sums(patches, weights, sublattice)
    return HostMeans(sums.sum(axis=0, dtype=np.float64), shortfall)


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
    target = means.patches[:, _fitted()].ravel()
    shapes, products, signal = _templates(library, host, optics)
    level = float(target.mean())  # off first, so that no digits are lost where the detector has a large offset
    seen = shapes @ (target - level)
    # Neighbours of a host column are a little less than the host's own on the mean, since some are defects.
    neighbours = np.ones(2)
    for _ in range(2):
        _, misfits = _fit(products, seen, target - level, neighbours)
        sigma = _minimum(SIGMA_GRID_ANGSTROM, misfits)
        low = min(int(np.searchsorted(SIGMA_GRID_ANGSTROM, sigma, side="right")) - 1, len(shapes) - 2)
        share = (sigma - SIGMA_GRID_ANGSTROM[low]) / (SIGMA_GRID_ANGSTROM[low + 1] - SIGMA_GRID_ANGSTROM[low])
        shape = (shapes[low] * (1 - share) + shapes[low + 1] * share)[None]
        product, against = shape @ shape.transpose(0, 2, 1), shape @ (target - level)
        ((gain, chalcogen_gain, background),), (misfit,) = _fit(product, against, target - level, neighbours)
        own_signal = (signal[low] * (1 - share) + signal[low + 1] * share) * (gain, chalcogen_gain)
        neighbours = np.clip(1 + means.shortfall / np.where(own_signal > 0, own_signal, np.inf), 0.5, 1.5)
    background += level
    misfit /= float(np.ptp(target)) or 1.0
    if gain <= 0 or chalcogen_gain <= 0 or misfit > LARGEST_MISFIT:
        raise CalibrationError(
            "calibration",
            f"The mean unit cell is not that of {host.name} under this detector (misfit {misfit:.0%}).",
            "Check the host, the detector angles and that this is an annular dark-field image of a monolayer.",
        )
    ratio = float(chalcogen_gain / gain)
    fitted = expected_ratio(library, host, replace(optics, sigma_angstrom=sigma))
    if not PLAUSIBLE_RATIO[0] < ratio < PLAUSIBLE_RATIO[1]:
        raise CalibrationError(
            "calibration",
            f"X2/M is {ratio * fitted:.2f} in the frame, {fitted:.2f} is expected for {host.name} in this context.",
            "Check the host and the detector angles.",
        )
    defects = float(np.clip((1 - neighbours[1]) / _VACANCY_LOSS, 0.01, 0.1))
    return FrameCalibration(float(gain), float(background), sigma, ratio, fitted, misfit, defects)


def flatten(
    patches: NDArray[np.float32],
    means: HostMeans,
    sublattice: NDArray[np.int8],
    positions_px: NDArray[np.float64],
    neighbours: int = 64,
) -> NDArray[np.float32]:
    """Remove slow variation of gain and background, where there is more of it than noise explains.

    Each patch without its own column is fitted with the mean patch of its sublattice and a constant; the medians of
    both over the nearest sites are the local gain and background. A uniform frame is returned as it is.

    Parameters
    ----------
    patches
        (n, SAMPLES) whole patches.
    means
        Of them.
    positions_px
        (n, 2) their sites.
    """
    ring = np.linalg.norm(sample_offsets(), axis=1)
    use = (ring > _CENTRE_RADIUS) & (ring < _FIT_RADIUS)
    levels = means.patches[:, use].mean(axis=1)
    solve = np.zeros((patches.shape[1], 4), np.float32)
    for code in (0, 1):
        basis = np.stack([means.patches[code, use] - levels[code], np.ones(use.sum())], axis=1)
        solve[use, 2 * code : 2 * code + 2] = np.linalg.pinv(basis).T
    # Patches overlap: about a dozen sites share their columns, so `count` of them are count / 12 independent values,
    # and so are those that are left when some are passed over.
    count = min(neighbours, len(patches))
    expected = 1.57 * _OVERLAP / count
    every = int(np.clip(len(patches) // _FITTED_SITES, 1, _OVERLAP // 2))
    fewer = slice(None, None, every)
    fitted = (patches[fewer] @ solve).reshape(-1, 2, 2)
    local = fitted[np.arange(len(fitted)), sublattice[fewer]].astype(np.float64)
    local[:, 1] -= levels[sublattice[fewer]]
    anchors = np.arange(0, len(patches), max(_SITES_AN_ANCHOR, len(patches) // _ANCHORS))
    _, nearest = cKDTree(positions_px[fewer]).query(positions_px[anchors], k=max(1, count // every))
    smooth = np.stack([_medians(local[:, k][nearest.reshape(len(anchors), -1)]) for k in (0, 1)], axis=1)
    varied = np.array(
        [_robust_sd(smooth[:, k]) ** 2 > 4 * expected * _robust_sd(local[:, k]) ** 2 for k in (0, 1)]
    )
    if not varied.any():
        return patches
    distance, near = cKDTree(positions_px[anchors]).query(positions_px, k=min(4, len(anchors)))
    weight = 1 / (distance.reshape(len(patches), -1) + 1.0)
    weight /= weight.sum(axis=1, keepdims=True)
    field = np.einsum("na,nak->nk", weight, smooth[near.reshape(len(patches), -1)])
    gain, shift = np.clip(field[:, 0], 0.2, 5.0), field[:, 1]
    some = patches[:: max(1, len(patches) // _ANCHORS)]
    overall = float(np.median(some[:, inside_disc()]))
    flat = np.empty_like(patches)
    for part in (slice(i, i + _CHUNK) for i in range(0, len(patches), _CHUNK)):
        flat[part] = (patches[part] - overall - shift[part, None]) / gain[part, None] + overall
    return flat


def measure_scatter(
    predictions: Predictions,
    features: NDArray[np.float32],
    sublattice: NDArray[np.int8],
    rows: tuple[int, int],
    background: float,
    base: Nuisance,
) -> Scatter:
    """Dose and the size of random nuisances from how the host's columns scatter.

    The robust variance of every feature over the sites of a sublattice is a sum of known shapes, one each for counting
    noise of the columns and of a uniform background, displacement of columns and of patches, amplitude scatter and
    neighbouring defects; bounded least squares gives their sizes. The last is not used: a robust variance sees
    only part of it.

    Parameters
    ----------
    predictions
        For the calibrated scene.
    features
        (n, K) of whole, calibrated patches in units of the reference.
    rows
        Rows of the host's metal and chalcogen column in the predictions.
    background
        Of the frame in units of the reference; taken for scattered electrons unless it is so large or so negative
        that it must be the detector's own level, whose noise is then fitted too.
    base
        Nuisances that are not measured here.

    Raises
    ------
    CalibrationError
        A frame so dark that nothing scatters.
    """
    names = ("counting", "jitter_angstrom", "shift_angstrom", "amplitude", "defects")
    counted = 0.0 <= background <= _LARGEST_COUNTED_BACKGROUND
    design, observed, typical = [], [], []
    for code, row in enumerate(rows):
        mine = features[sublattice == code]
        columns = np.ascontiguousarray(mine[:: -(-len(mine) // _SCATTERED_SITES) or 1].T)
        observed.append(_robust_sds(columns) ** 2)
        typical.append(columns.var(axis=1, dtype=np.float64))
        components = predictions.candidates[row].components
        floor = np.diagonal(components["floor"])
        shapes = np.stack([np.diagonal(components[n]) for n in names] + ([] if counted else [floor]), axis=1)
        if counted:
            shapes[:, 0] += background * floor
        design.append(shapes)
    matrix, spread = np.concatenate(design), np.concatenate(observed)
    if not np.median(spread) > 0:
        raise CalibrationError(
            "too_dark",
            "There are so few counts that the scatter of the columns cannot be measured.",
            "Use more dose: a longer dwell, more current or a smaller field.",
        )
    largest = np.array(
        [np.inf, 0.15**2, 0.25**2, LARGEST_AMPLITUDE_SD**2, 0.25] + ([] if counted else [np.inf])
    )
    # Weighted by what is predicted, in a few rounds: where hardly an electron falls, the robust variance is far too
    # small, and weighted by itself it would rule the fit.
    expected = np.maximum(spread, 0.2 * np.concatenate(typical))
    for _ in range(_ROUNDS):
        scaling = (matrix / expected[:, None]).max(axis=0)
        sizes = _bounded(matrix / expected[:, None] / scaling, spread / expected, largest * scaling) / scaling
        expected = np.maximum(matrix @ sizes, 1e-3 * spread)
    counting, jitter, shift, amplitude, _, *free = sizes
    dose = float(np.clip(1 / max(counting, 1e-9), 10, 1e8))
    noisy_background = background if counted else float(np.clip(free[0] * dose, 0.0, 10.0))
    return Scatter(
        dose_e_per_angstrom2=dose,
        background=noisy_background,
        nuisance=replace(
            base,
            jitter_angstrom=float(max(np.sqrt(jitter), 0.01)),
            shift_angstrom=float(max(np.sqrt(shift), 0.01)),
            amplitude=float(np.sqrt(amplitude)),
        ),
    )


def _host_like(own_level: NDArray[np.float32], mine: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Sites of a sublattice whose own column does not stand out of it."""
    middle = np.median(own_level[mine])
    away = np.abs(own_level - middle)
    kept: NDArray[np.bool_] = mine & (away <= 3 * max(_robust_sd(own_level[mine]), 1e-12))
    return kept


def _medians(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Median of every row; of float32 in single precision."""
    middle = rows.shape[1] // 2
    parted = np.partition(rows, middle, axis=1)
    upper = parted[:, middle]
    if rows.shape[1] % 2:
        return upper.astype(np.float64)
    half: NDArray[np.float64] = (parted[:, :middle].max(axis=1).astype(np.float64) + upper) / 2
    return half


def _robust_sds(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation of every row by its median absolute deviation."""
    away = rows - _medians(rows)[:, None].astype(np.float32)
    return 1.4826 * _medians(np.abs(away, out=away))


def _bounded(
    matrix: NDArray[np.float64], target: NDArray[np.float64], largest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Least squares between 0 and a largest value; hardly ever does a largest one matter."""
    solution: NDArray[np.float64] = nnls(matrix, target)[0]
    if (solution > largest).any():
        solution = lsq_linear(matrix, target, bounds=(0.0, largest)).x
    return solution


def _robust_sd(values: NDArray[np.floating[Any]]) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _fit(
    products: NDArray[np.float64],
    seen: NDArray[np.float64],
    target: NDArray[np.float64],
    neighbours: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gains of the two sublattices and the background, (t, 3), for each of t source sizes; (t,) rms residuals.

    Parameters
    ----------
    products
        (t, 5, 5) of the shapes of `_templates` with each other.
    seen
        (t, 5) of the shapes with the target.
    neighbours
        (2,) what the columns around are of the host's own.
    """
    together = np.zeros((3, 5))
    together[[0, 1, 2], [0, 1, 4]] = 1.0
    together[[0, 1], [2, 3]] = neighbours
    gram, right = together @ products @ together.T, seen @ together.T
    solution = np.asarray(np.linalg.solve(gram, right[:, :, None])[:, :, 0], np.float64)
    explained = np.sum(solution * (2 * right - (gram @ solution[:, :, None])[:, :, 0]), axis=1)
    misfit: NDArray[np.float64] = np.sqrt(np.maximum(target @ target - explained, 0.0) / len(target))
    return solution, misfit


def _minimum(at: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Place of the minimum of a sampled curve by a parabola through the lowest three."""
    i = int(np.clip(np.argmin(values), 1, len(at) - 2))
    low, mid, high = values[i - 1 : i + 2] ** 2
    curvature = low - 2 * mid + high
    step = 0.5 * (low - high) / curvature if curvature > 0 else 0.0
    return float(np.clip(at[i] + np.clip(step, -1.0, 1.0) * (at[1] - at[0]), at[0], at[-1]))


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
    fitted: NDArray[np.bool_] = np.linalg.norm(sample_offsets(), axis=1) < _FIT_RADIUS
    return fitted
