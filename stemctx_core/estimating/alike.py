"""Recipes of frames like a measured one, with imperfections that are drawn anew each time."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from stemctx_core.chemistry.classes import Role
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe
from stemctx_core.estimating.host_lattice import HostLattice
from stemctx_core.estimating.quantities import LEAST_SIGMA_ANGSTROM, Quantities, true_sigma_angstrom
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

#: Calculated lattice constants are about 1 % above measured ones.
LATTICE_CONSTANT_SD: Final = 0.01
#: Field of a rehearsal (Å), and its sides in pixels: as small as measures a lattice well.
_FIELD_ANGSTROM: Final = 64.0
_SIDES_PX: Final = (192, 448)
#: Of the dose of rehearsals around what is measured, standard deviation of its logarithm: wider than the error of that.
_DOSE_SPREAD: Final = 0.8
_DOSES_E_PER_ANGSTROM2: Final = (50.0, 1e7)


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
    round_part = float(np.sqrt(max(wanted**2 - added**2, LEAST_SIGMA_ANGSTROM**2)))
    return aside(recipe, sigma_angstrom=round_part)
