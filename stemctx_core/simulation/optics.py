"""What the microscope does to a column: the probe, the detector and the effective source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Effective source of an aberration-corrected microscope (Å, standard deviation per axis), where none is known.
TYPICAL_SIGMA_ANGSTROM: Final = 0.45


@dataclass(frozen=True)
class Optics:
    """What turns a column into a profile.

    Attributes
    ----------
    sigma_angstrom
        Effective source, standard deviation per axis, thermal motion not included.
    defocus_nm, astigmatism_nm
        What is left of C1, and the magnitude of the twofold astigmatism A1.
    astigmatism_azimuth_rad
        Direction in which the astigmatic probe is longest at positive defocus, from the x axis towards y.
    """

    high_tension_kv: float
    convergence_semi_angle_mrad: float
    inner_mrad: float
    outer_mrad: float
    sigma_angstrom: float
    defocus_nm: float = 0.0
    astigmatism_nm: float = 0.0
    astigmatism_azimuth_rad: float = 0.0


def ring_weights(
    low_mrad: NDArray[np.float64], width_mrad: float, inner_mrad: float, outer_mrad: float
) -> NDArray[np.float64]:
    """How much of each ring a detector sees; a ring cut by an edge counts by its share of the area.

    Parameters
    ----------
    low_mrad
        (rings,) inner edge of each.
    width_mrad
        Of all rings.
    """
    high = low_mrad + width_mrad
    seen_low, seen_high = np.clip(inner_mrad, low_mrad, high), np.clip(outer_mrad, low_mrad, high)
    weights: NDArray[np.float64] = (seen_high**2 - seen_low**2) / (high**2 - low_mrad**2)
    return weights
