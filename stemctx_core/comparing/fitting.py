"""Make a simulated frame like a measured one: its recipe is moved until the host's columns measure the same.

Both frames go through the same measurement, so that what it is off by cancels. Each number of `HostSummary` has its
own knob; a few rounds take care of what the knobs do to each other's numbers. No defect and no label is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.comparing.angles import effective_angles
from stemctx_core.comparing.descent import descended
from stemctx_core.comparing.host_summary import HostSummary, host_summary
from stemctx_core.comparing.knobs import Knobs, recipe_of
from stemctx_core.comparing.views import FrameView, frame_view
from stemctx_core.dataset.frames import FrameRecipe, labelled_frame
from stemctx_core.errors import FrameError
from stemctx_core.estimating.host_lattice import HostLattice, host_lattice
from stemctx_core.estimating.rehearsal import named_by_truth
from stemctx_core.judging.view import lattice as site_grid
from stemctx_core.simulation.library import ResponseLibrary

#: Larger frames are not simulated while fitting; the final one has the measured frame's size, up to that of `recipe_of`.
_FITTED_SIDE_PX: Final = 320
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


def simulated(library: ResponseLibrary, recipe: FrameRecipe, like: HostLattice, seed: int) -> FrameView:
    """Simulate a frame and measure it as the other one was measured."""
    frame = labelled_frame(library, recipe, seed)
    image, context = frame.images[0], like.context_without_pixel_size
    grid = named_by_truth(site_grid(image, context, like.known), frame.sites)
    return frame_view(library, host_lattice(library, image, context, grid))


def fit(library: ResponseLibrary, target: FrameView, seed: int = 0) -> Fit:
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
    x = descended(trial, np.clip(start, low, high), low, high, step)
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
