"""What the ideal observer knows of a scene before it sees a patch: one distribution for each unknown.

Every continuous unknown is a monotone function of a standard normal score, so that the posterior is sought where all
priors are N(0, 1): a uniform unknown, or one that cannot be negative, then needs no special case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from stemctx_core.dataset.groups import DOSE_TOLD_SD, SCATTER_TOLD_SD
from stemctx_core.scene import Scene

#: Scores at which the functions are tabulated.
SCORES: Final = np.linspace(-8.0, 8.0, 641)
_SMALLEST_SOURCE_ANGSTROM: Final = 0.05


@dataclass(frozen=True)
class Uncertain:
    """A normal distribution cut to an interval; with an infinite `sd` it is uniform over the interval."""

    centre: float
    sd: float
    low: float = -np.inf
    high: float = np.inf

    def at(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values with the same cumulative probability as standard normal scores."""
        if self.sd == 0:
            return np.full(np.shape(scores), self.centre)
        if np.isinf(self.sd):
            uniform: NDArray[np.float64] = self.low + (self.high - self.low) * ndtr(scores)
            return uniform
        below = ndtr((self.low - self.centre) / self.sd)
        above = ndtr((self.centre - self.high) / self.sd)
        # Each half from its own tail, so that scores far out keep their digits.
        lower = ndtri(below + (1 - below - above) * ndtr(scores))
        upper = -ndtri(above + (1 - below - above) * ndtr(-scores))
        values: NDArray[np.float64] = self.centre + self.sd * np.where(scores < 0, lower, upper)
        return np.clip(values, self.low, self.high)


@dataclass(frozen=True)
class Knowledge:
    """Distributions of what a scene does not say exactly.

    Attributes
    ----------
    gain
        Factor on the patches' scale.
    background
        In units of the brighter host column's peak.
    sigma_angstrom
        Effective source.
    ratio
        Factor on the scene's ratio X2/M.
    dose, scatter
        Relative errors of the dose, and of jitter, shift and amplitude scatter.
    every_defect
        Whether a neighbour that is a defect may be of every kind in the candidate list.
    """

    gain: Uncertain
    background: Uncertain
    sigma_angstrom: Uncertain
    ratio: Uncertain
    dose: float = DOSE_TOLD_SD
    scatter: float = SCATTER_TOLD_SD
    every_defect: bool = False


def told_by(scene: Scene) -> Knowledge:
    """What a told scene says: its values with the uncertainties that it names."""
    n = scene.nuisance
    return Knowledge(
        gain=Uncertain(1.0, n.gain, low=0.0),
        background=Uncertain(scene.background, n.background, low=0.0),
        sigma_angstrom=Uncertain(scene.optics.sigma_angstrom, n.sigma_angstrom, low=_SMALLEST_SOURCE_ANGSTROM),
        ratio=Uncertain(1.0, n.ratio, low=0.0),
    )


def unknown_in_patch(
    scene: Scene,
    sigma_angstrom: tuple[float, float] = (0.35, 0.55),
    background: tuple[float, float] = (0.0, 0.06),
    gain: float = 0.01,
) -> Knowledge:
    """No calibration by the frame: source and background anywhere in a range, the gain as uncertain as said."""

    def anywhere(low: float, high: float) -> Uncertain:
        return Uncertain((low + high) / 2, np.inf, low, high)

    return replace(
        told_by(scene),
        gain=Uncertain(1.0, gain, low=0.0),
        background=anywhere(*background),
        sigma_angstrom=anywhere(*sigma_angstrom),
    )
