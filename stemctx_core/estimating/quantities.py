"""What is estimated of a frame, as it is measured and, of a simulated one, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.dataset.frames import FrameRecipe
from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.estimating.host_lattice import HostLattice
from stemctx_core.simulation.imaging import (
    EffectiveSource,
)
from stemctx_core.simulation.library import ResponseLibrary

#: Effective sources are not measured smaller.
LEAST_SIGMA_ANGSTROM: Final = 0.15


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
    sigma = np.sqrt(max(lattice.calibration.sigma_angstrom**2 - blurred, LEAST_SIGMA_ANGSTROM**2))
    return Quantities(
        lattice.ratio, float(sigma), lattice.scatter.dose_e_per_angstrom2, lattice.grid.pixel_size_angstrom
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
    optics = case.optics(round(sigma, 2))
    ratio = host_ratio(library, case.host, optics)
    return Quantities(ratio, sigma, recipe.dose_e_per_angstrom2, recipe.pixel_size_angstrom)
