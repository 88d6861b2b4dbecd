"""What of a simulation can be moved to make it like a measured frame, and the recipe that follows from it."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Known, declared_angles
from stemctx_core.dataset.cases import Case
from stemctx_core.dataset.crystal import CrystalRecipe
from stemctx_core.dataset.frames import FrameRecipe
from stemctx_core.estimating.host_lattice import HostLattice
from stemctx_core.simulation.imaging import (
    AmplitudeNoise,
    Contamination,
    Haze,
    ImagingChain,
    PixelCorrelation,
    Step,
)
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM

LARGEST_SIDE_PX: Final = 1024
_CONTAMINATION_ANGSTROM: Final = 50.0
_TYPICAL_DOSE: Final = 1e4


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


def declared_knobs(lattice: HostLattice, context: ImagingContext) -> Knobs:
    """What somebody would simulate who has only the context: typical values for all that it does not say."""
    known = declared_angles(context) or (lattice.known.optics.inner_mrad, lattice.known.optics.outer_mrad)
    dose = context.dose_e_per_angstrom2
    return Knobs(*known, dose_e_per_angstrom2=dose.value if isinstance(dose, Known) else _TYPICAL_DOSE)


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
