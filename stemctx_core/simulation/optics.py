"""What the microscope does to a column: the probe, the detector and the effective source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
