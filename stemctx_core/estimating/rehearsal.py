"""Simulated frames like a measured one, whose truth is known: how far the same measurement is off on them.

The imperfections of a frame's microscope are not known, so each rehearsal draws others of the magnitudes that are
met. Bias and spread of the measurement on them correct an estimate and give its interval.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.chemistry.classes import Role
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe, SiteTruth, labelled_frame
from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.errors import FrameError, LibraryError
from stemctx_core.estimating.host_lattice import HostLattice, host_lattice
from stemctx_core.estimating.noise import residual
from stemctx_core.judging.view import lattice as site_grid
from stemctx_core.lattice import SiteGrid
from stemctx_core.simulation.imaging import (
    Afterglow,
    AmplitudeNoise,
    Contamination,
    Drift,
    EffectiveSource,
    Gain,
    Haze,
    ImagingChain,
    LineJitter,
    PixelCorrelation,
    Quantisation,
    ReadoutNoise,
    Warp,
)
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics

_LOG = logging.getLogger(__name__)

#: Calculated lattice constants are about 1 % above measured ones.
LATTICE_CONSTANT_SD: Final = 0.01
#: Field of a rehearsal (Å), and its sides in pixels: as small as measures a lattice well.
_FIELD_ANGSTROM: Final = 64.0
_SIDES_PX: Final = (192, 448)
#: Of the dose of rehearsals around what is measured, standard deviation of its logarithm: wider than the error of that.
_DOSE_SPREAD: Final = 0.8
_DOSES_E_PER_ANGSTROM2: Final = (50.0, 1e7)
_LEAST_SIGMA_ANGSTROM: Final = 0.15
#: Fewer leave the fit of the dose's error to its witnesses undetermined.
_LEAST_REHEARSALS: Final = 12


@dataclass(frozen=True)
class Quantities:
    """What is estimated of a frame.

    Attributes
    ----------
    ratio
        X2/M.
    sigma_angstrom
        Effective source: standard deviation per axis, mean of all directions.
    dose_e_per_angstrom2
        Electrons that arrive.
    pixel_size_angstrom
        Mean of both axes.
    """

    ratio: float
    sigma_angstrom: float
    dose_e_per_angstrom2: float
    pixel_size_angstrom: float

    def logarithms(self) -> NDArray[np.float64]:
        """(4,) natural logarithms in the order of the fields."""
        values = [self.ratio, self.sigma_angstrom, self.dose_e_per_angstrom2, self.pixel_size_angstrom]
        logs: NDArray[np.float64] = np.log(values)
        return logs


def measured(lattice: HostLattice) -> Quantities:
    """What the frame shows, before it is corrected by rehearsals."""
    scatter = lattice.scatter.nuisance
    blurred = scatter.jitter_angstrom**2 + scatter.shift_angstrom**2
    sigma = np.sqrt(max(lattice.calibration.sigma_angstrom**2 - blurred, _LEAST_SIGMA_ANGSTROM**2))
    return Quantities(
        lattice.ratio, float(sigma), lattice.scatter.dose_e_per_angstrom2, lattice.grid.pixel_size_angstrom
    )


def imperfections(rng: np.random.Generator, gain: tuple[float, float] = (0.1, 0.35)) -> ImagingChain:
    """Draw what a microscope and a specimen may add, of the magnitudes that measured frames have.

    Parameters
    ----------
    gain
        Black level, and the brighter host column over it, as shares of the converter's range.
    """
    turn = 2 * np.pi

    def u(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    drift_y, drift_x = (float(v) for v in rng.normal(0, 0.4, 2))
    return ImagingChain(
        (
            Drift((drift_y, drift_x)),
            Warp(u(0, 0.3), 200.0),
            LineJitter((0.02, 0.04)),
            EffectiveSource(u(0, 0.25), u(0, 0.1), u(0, turn / 2), u(0, 0.12), 0.6, u(0, turn)),
            Haze(u(0, 0.4), u(0, 0.4), u(0, turn)),
            Contamination(u(0, 0.1), 50.0),
            AmplitudeNoise(u(0, 0.08), u(0, 0.06), 0.2),
            Afterglow(u(0, 0.1), 1.0),
            PixelCorrelation(u(0, 0.3)),
            ReadoutNoise(u(0, 0.03)),
            Gain(*gain),
            Quantisation(),
        )
    )


def true_sigma_angstrom(recipe: FrameRecipe) -> float:
    """Effective source of a recipe: its round part and what `EffectiveSource` adds, mean of all directions."""
    variance = recipe.sigma_angstrom**2
    for step in recipe.chain.steps:
        if isinstance(step, EffectiveSource):
            variance += (step.major_angstrom**2 + step.minor_angstrom**2) / 2
            out, share = step.coma_angstrom, step.coma_share
            variance += share * (1 - share) * out**2 / 2 + share * (out / 2) ** 2
    return float(np.sqrt(variance))


def true_quantities(library: ResponseLibrary, recipe: FrameRecipe) -> Quantities:
    """What an estimate of a recipe's frame should find."""
    case, sigma = recipe.case, true_sigma_angstrom(recipe)
    optics = Optics(
        case.high_tension_kv,
        case.convergence_semi_angle_mrad,
        case.inner_mrad,
        case.outer_mrad,
        round(sigma, 2),
    )
    ratio = host_ratio(library, case.host, optics)
    return Quantities(ratio, sigma, recipe.dose_e_per_angstrom2, recipe.pixel_size_angstrom)


def recipe_like(
    lattice: HostLattice, middle: Quantities, angles_mrad: tuple[float, float], rng: np.random.Generator
) -> FrameRecipe:
    """A frame like a measured one, with imperfections that are drawn anew.

    Parameters
    ----------
    middle
        About what it has; source, dose and pixel size are drawn around them.
    angles_mrad
        Inner and outer angle of its detector.
    """
    host, known = lattice.host, lattice.known.optics
    stretched = host.a_angstrom * (1 + LATTICE_CONSTANT_SD * float(rng.normal()))
    pixel = middle.pixel_size_angstrom * stretched / host.a_angstrom
    side = int(np.clip(_FIELD_ANGSTROM / pixel, *_SIDES_PX))
    shape = (min(side, lattice.image.shape[0]), min(side, lattice.image.shape[1]))
    chain = imperfections(rng)
    aside = msgspec.structs.replace
    case = Case(
        aside(host, a_angstrom=stretched),
        lattice.context.dopants,
        known.high_tension_kv,
        *angles_mrad,
        known.convergence_semi_angle_mrad,
    )
    recipe = FrameRecipe(
        case=case,
        shape=shape,
        pixel_size_angstrom=pixel,
        dose_e_per_angstrom2=float(
            np.clip(middle.dose_e_per_angstrom2 * np.exp(_DOSE_SPREAD * rng.normal()), *_DOSES_E_PER_ANGSTROM2)
        ),
        crystal=CrystalRecipe(prevalence={Role.CHALCOGEN_VACANCY: float(rng.uniform(0.01, 0.06))}),
        chain=chain,
    )
    wanted = middle.sigma_angstrom * np.exp(0.05 * rng.normal())
    added = true_sigma_angstrom(aside(recipe, sigma_angstrom=0.0))
    round_part = float(np.sqrt(max(wanted**2 - added**2, _LEAST_SIGMA_ANGSTROM**2)))
    return aside(recipe, sigma_angstrom=round_part)


@dataclass(frozen=True)
class Rehearsals:
    """What a measurement was off by on n simulated frames, and what of a frame tells by how much.

    Attributes
    ----------
    errors
        (n, 4) logarithm of what was measured over the truth, in the order of `Quantities`.
    witnesses
        (n, 6) of each; see `witnesses`.
    """

    errors: NDArray[np.float64]
    witnesses: NDArray[np.float64]


def witnesses(lattice: HostLattice) -> NDArray[np.float64]:
    """What goes with the error of the measured dose: (6,).

    The dose itself, the variance of a pixel, the correlation of neighbouring pixels along the fast and the slow axis,
    the scatter of amplitudes and the jitter. Together they leave a third of the error that the dose has by itself.
    """
    left, scatter = residual(lattice), lattice.scatter
    return np.array(
        [
            np.log(scatter.dose_e_per_angstrom2),
            np.log(max(left.variance, 1e-12)),
            left.correlation(0, 1),
            left.correlation(1, 0),
            scatter.nuisance.amplitude,
            scatter.nuisance.jitter_angstrom,
        ]
    )


def rehearse(
    library: ResponseLibrary,
    lattice: HostLattice,
    angles_mrad: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> Rehearsals:
    """Measure frames like this one.

    Parameters
    ----------
    angles_mrad
        (n, 2) inner and outer angles that the frame may have been taken with; each rehearsal draws one.
    count
        How many frames.

    Raises
    ------
    FrameError
        Where hardly any frame like this one can be measured.
    """
    middle, context, known = measured(lattice), lattice.context_without_pixel_size, lattice.known
    errors: list[NDArray[np.float64]] = []
    witnessed: list[NDArray[np.float64]] = []
    for _ in range(count):
        inner, outer = (float(v) for v in angles_mrad[rng.integers(len(angles_mrad))])
        recipe = recipe_like(lattice, middle, (inner, outer), rng)
        seed = int(rng.integers(1 << 31))
        try:
            frame = labelled_frame(library, recipe, seed)
            grid = named_by_truth(site_grid(frame.images[0], context, known), frame.sites)
            found = host_lattice(library, frame.images[0], context, grid)
        except (FrameError, LibraryError) as error:
            _LOG.info("A rehearsal was left out: %s", error)
            continue
        errors.append(measured(found).logarithms() - true_quantities(library, recipe).logarithms())
        witnessed.append(witnesses(found))
    if len(errors) < _LEAST_REHEARSALS:
        raise FrameError(
            "not_estimated",
            f"Only {len(errors)} of {count} simulated frames like this one could be measured.",
            "The frame is too noisy or its field too small for intervals: use more dose or a larger field.",
        )
    return Rehearsals(np.array(errors), np.array(witnessed))


def named_by_truth(grid: SiteGrid, truth: SiteTruth) -> SiteGrid:
    """The sublattices by their true names: whether a measured frame's may be wrong is said beside its estimates."""
    _, nearest = cKDTree(truth.positions_px).query(grid.positions_px)
    return grid if np.mean(grid.sublattice == truth.sublattice[nearest]) > 0.5 else grid.swapped()
