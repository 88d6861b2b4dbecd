"""Make a simulated frame like a measured one: its recipe is moved until the host's columns measure the same.

Both frames go through the same measurement, so that what it is off by cancels. Each number of `HostSummary` has its
own knob; a few rounds take care of what the knobs do to each other's numbers. No defect and no label is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Role
from stemctx_core.comparing.host_summary import HostSummary, host_summary
from stemctx_core.comparing.views import FrameView, frame_view
from stemctx_core.context import ImagingContext, Known
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.errors import FrameError, InputError, LibraryError
from stemctx_core.estimating.host_lattice import HostLattice, host_lattice
from stemctx_core.estimating.rehearsal import named_by_truth
from stemctx_core.estimating.ridge import find_ridge
from stemctx_core.judging.view import lattice as site_grid
from stemctx_core.simulation.imaging import (
    AmplitudeNoise,
    Contamination,
    Haze,
    ImagingChain,
    PixelCorrelation,
    Step,
)
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM

ROUNDS: Final = 4
_DAMPINGS: Final = 4
#: Larger frames are not simulated while fitting; the final one has the measured frame's size, up to the second.
_FITTED_SIDE_PX: Final = 320
LARGEST_SIDE_PX: Final = 1024
_CONTAMINATION_ANGSTROM: Final = 50.0
_TYPICAL_DOSE: Final = 1e4
_LEAST_SIGMA_ANGSTROM: Final = 0.1
#: Angles whose ratio is as near to the frame's as this (relative) are left alone.
_SAME_RATIO: Final = 0.01
_MAP_STEP_MRAD: Final = 5.0


#: Knob to where it starts, its bounds and the step by which its effect is measured, in the order of `_knobs`.
_RANGES: Final = {
    "sigma_angstrom": (0.4, 0.1, 1.0, 0.02),
    "log10_dose": (4.0, 1.5, 7.0, 0.1),
    "jitter_angstrom": (0.03, 0.0, 0.2, 0.015),
    "amplitude_noise": (0.05, 0.0, 0.3, 0.015),
    "contamination": (0.01, 0.0, 1.0, 0.02),
    "fast_correlation": (0.2, 0.02, 0.9, 0.08),
    "slow_angstrom": (0.3, 0.1, 4.0, 0.2),
    "pixel_correlation": (0.1, 0.0, 0.49, 0.05),
}
#: About the error of a summary's number, in a frame of 300 pixels.
_ERRORS: Final = {
    "sigma_angstrom": 0.003,
    "amplitude": 0.006,
    "jitter_angstrom": 0.006,
    "fast_correlation": 0.05,
    "slow_correlation": 0.05,
    "pixel_correlation": 0.02,
}
#: Farther than this a trial is not told apart from another.
_FAR: Final = 30.0


class Knobs(msgspec.Struct, frozen=True):
    """What of a simulation is moved.

    Attributes
    ----------
    inner_mrad, outer_mrad
        Effective detector: of the many pairs of angles that give the frame's X2/M, the one nearest to those declared.
    sigma_angstrom, dose_e_per_angstrom2, jitter_angstrom, vacancies
        As of `FrameRecipe` and its crystal.
    haze
        In units of the brighter host column.
    amplitude_noise, fast_correlation, slow_angstrom
        Common-mode noise of the beam.
    pixel_correlation
        Of a line.
    contamination
        Height of smooth patches.
    """

    inner_mrad: float
    outer_mrad: float
    sigma_angstrom: float = TYPICAL_SIGMA_ANGSTROM
    dose_e_per_angstrom2: float = _TYPICAL_DOSE
    jitter_angstrom: float = 0.03
    vacancies: float = 0.03
    haze: float = 0.0
    amplitude_noise: float = 0.0
    fast_correlation: float = 0.2
    slow_angstrom: float = 0.3
    pixel_correlation: float = 0.0
    contamination: float = 0.0


@dataclass(frozen=True)
class Fit:
    """A simulation that is like a frame.

    Attributes
    ----------
    knobs, recipe
        What it is made with.
    view, summary
        What it shows.
    """

    knobs: Knobs
    recipe: FrameRecipe
    view: FrameView
    summary: HostSummary


def recipe_of(knobs: Knobs, lattice: HostLattice, largest_side_px: int = LARGEST_SIDE_PX) -> FrameRecipe:
    """A frame with the measured one's host, energy, pixel size, rotation and shape."""
    known = lattice.known.optics
    shape = (
        min(lattice.image.shape[0], largest_side_px),
        min(lattice.image.shape[1], largest_side_px),
    )
    bond_y, bond_x = lattice.grid.bond_px
    steps: list[Step] = []
    if knobs.haze > 0:
        steps.append(Haze(knobs.haze, 0.0))
    if knobs.contamination > 1e-3:
        steps.append(Contamination(knobs.contamination, _CONTAMINATION_ANGSTROM))
    if knobs.amplitude_noise > 1e-3:
        steps.append(AmplitudeNoise(knobs.amplitude_noise, 0.0, knobs.fast_correlation, knobs.slow_angstrom))
    if knobs.pixel_correlation > 1e-3:
        steps.append(PixelCorrelation(knobs.pixel_correlation))
    return FrameRecipe(
        case=Case(
            lattice.host,
            (),
            known.high_tension_kv,
            knobs.inner_mrad,
            knobs.outer_mrad,
            known.convergence_semi_angle_mrad,
        ),
        shape=shape,
        pixel_size_angstrom=lattice.grid.pixel_size_angstrom,
        dose_e_per_angstrom2=knobs.dose_e_per_angstrom2,
        sigma_angstrom=knobs.sigma_angstrom,
        crystal=CrystalRecipe(
            prevalence={Role.CHALCOGEN_VACANCY: knobs.vacancies},
            jitter_angstrom=knobs.jitter_angstrom,
            rotation_rad=float(np.arctan2(bond_y, bond_x)) - np.pi / 6,
        ),
        chain=ImagingChain(tuple(steps)),
    )


def simulated(library: ResponseLibrary, recipe: FrameRecipe, like: HostLattice, seed: int) -> FrameView:
    """Simulate a frame and measure it as the other one was measured."""
    frame = labelled_frame(library, recipe, seed)
    image, context = frame.images[0], like.context_without_pixel_size
    grid = named_by_truth(site_grid(image, context, like.known), frame.sites)
    return frame_view(library, host_lattice(library, image, context, grid))


def declared_knobs(lattice: HostLattice, context: ImagingContext) -> Knobs:
    """What somebody would simulate who has only the context: typical values for all that it does not say."""
    known = declared_angles(context) or (lattice.known.optics.inner_mrad, lattice.known.optics.outer_mrad)
    dose = context.dose_e_per_angstrom2
    return Knobs(*known, dose_e_per_angstrom2=dose.value if isinstance(dose, Known) else _TYPICAL_DOSE)


def declared_angles(context: ImagingContext) -> tuple[float, float] | None:
    """Declared inner and outer angle; None where one of them is missing."""
    inner, outer = context.inner_mrad, context.outer_mrad
    return (inner.value, outer.value) if isinstance(inner, Known) and isinstance(outer, Known) else None


def fit(library: ResponseLibrary, target: FrameView, seed: int = 0, common_noise: float | None = None) -> Fit:
    """Move the knobs until a simulated frame measures as the target does.

    Least squares over the numbers of `HostSummary` and the noise spectrum. All trials share one seed, so that they
    differ by their knobs and hardly by chance.

    Raises
    ------
    FrameError, InputError
        Where a frame with such values cannot be made or measured.
    """
    lattice, wanted = target.lattice, host_summary(target)
    angles = effective_angles(library, lattice)
    goal = _shown(target, wanted)

    def trial(x: NDArray[np.float64]) -> NDArray[np.float64]:
        recipe = recipe_of(_knobs(x, angles, wanted), lattice, _FITTED_SIDE_PX)
        try:
            view = simulated(library, recipe, lattice, seed)
        except FrameError:
            return np.full(len(goal), _FAR)
        away = _shown(view, host_summary(view)) - goal
        return np.clip(np.where(np.isfinite(away), away, 0), -_FAR, _FAR)

    start, low, high, step = (np.array(column) for column in zip(*_RANGES.values(), strict=True))
    start[:3] = (wanted.sigma_angstrom, np.log10(wanted.dose_e_per_angstrom2), wanted.jitter_angstrom)
    start[3:5] = wanted.amplitude, wanted.slow_sd
    x = _descended(trial, np.clip(start, low, high), low, high, step)
    knobs = _knobs(x, angles, wanted)
    recipe = recipe_of(knobs, lattice)
    view = simulated(library, recipe, lattice, seed + 1)
    return Fit(knobs, recipe, view, host_summary(view))


def _knobs(x: NDArray[np.float64], angles: tuple[float, float], wanted: HostSummary) -> Knobs:
    sigma, log_dose, jitter, amplitude, contamination, fast, slow, pixel = (float(v) for v in x)
    return Knobs(
        *angles,
        sigma_angstrom=sigma,
        dose_e_per_angstrom2=10**log_dose,
        jitter_angstrom=jitter,
        vacancies=wanted.defects,
        haze=float(np.clip(wanted.level, 0.0, 1.0)),
        amplitude_noise=amplitude,
        fast_correlation=fast,
        slow_angstrom=slow,
        pixel_correlation=pixel,
        contamination=contamination,
    )


def _shown(view: FrameView, summary: HostSummary) -> NDArray[np.float64]:
    """What is fitted, each in units of about its own error."""
    numbers = [getattr(summary, name) / error for name, error in _ERRORS.items()]
    logs = [np.log(summary.dose_e_per_angstrom2) / 0.15, np.log(max(summary.slow_sd, 1e-4)) / 0.1]
    spectrum = np.log(np.maximum(np.nanmean(view.power, axis=0), 1e-12)) / 0.1
    return np.concatenate([numbers, logs, spectrum])


def _descended(
    trial: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    x: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Levenberg's and Marquardt's descent in units of the steps, within bounds; few trials, since each is a frame."""
    here = trial(x)
    damping = 1.0
    for _ in range(ROUNDS):
        slopes = []
        for k in range(len(x)):
            moved = x.copy()
            moved[k] += step[k] if x[k] + step[k] <= high[k] else -step[k]
            slopes.append((trial(moved) - here) / (moved[k] - x[k]) * step[k])
        slope = np.array(slopes).T
        for _ in range(_DAMPINGS):
            normal = slope.T @ slope
            normal += damping * np.diag(np.diagonal(normal) + 1e-6)
            tried = np.clip(x - np.linalg.solve(normal, slope.T @ here) * step, low, high)
            there = trial(tried)
            if there @ there < here @ here:
                x, here, damping = tried, there, damping / 5
                break
            damping *= 5
        else:
            break
    return x


def effective_angles(library: ResponseLibrary, lattice: HostLattice) -> tuple[float, float]:
    """The pair of angles that gives the frame's X2/M and differs least from what is declared.

    Raises
    ------
    InputError
        Where no angles that the library answers for give it.
    """
    known, wanted = lattice.optics, lattice.ratio

    def off(inner: float, outer: float) -> float:
        optics = replace(known, inner_mrad=inner, outer_mrad=outer)
        return abs(float(np.log(host_ratio(library, lattice.host, optics) / wanted)))

    if off(known.inner_mrad, known.outer_mrad) < _SAME_RATIO:
        return known.inner_mrad, known.outer_mrad
    near = find_ridge(library, lattice.host, known, wanted, 0.0).nearest(known.inner_mrad, known.outer_mrad)
    if near is None:
        raise InputError(
            f"No detector angles give X2/M = {wanted:.2f} for {lattice.host.name}. Check the host and the energy."
        )
    tried = {}
    for step in np.arange(-_MAP_STEP_MRAD, _MAP_STEP_MRAD + 0.1, 0.5):
        for angles in ((near[0] + step, near[1]), (near[0], near[1] + step)):
            try:
                tried[off(*angles)] = (float(angles[0]), float(angles[1]))
            except LibraryError:
                continue
    return tried[min(tried)]
