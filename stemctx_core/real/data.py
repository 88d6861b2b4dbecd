"""The real frames that are measured on, as far as a folder holds them, and what is known of how they were taken."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Role
from stemctx_core.context import ImagingContext, Quantity, Source, known
from stemctx_core.errors import InputError
from stemctx_core.reading import read_micrograph

TI_WSE2: Final = "TiWSe2_1028_2"
DETECTORS: Final = ("ADF1", "ADF2")
MOS2: Final = "Se_implanted_MoS2_60kV_HAADF.tif"
BOUNDARY: Final = "MoSe2_mono_grain_boundary_f32.tif"
RHENIUM: Final = "OOD_Re_single_atoms_u8.tif"
#: Names of the labels, and the roles that they stand for.
_ROLES: Final = {
    "W": Role.METAL,
    "Ti_W": Role.DOPANT,
    "Se2": Role.CHALCOGEN_PAIR,
    "V_Se": Role.CHALCOGEN_VACANCY,
}


@dataclass(frozen=True)
class Labels:
    """What people say of the sites of a frame.

    Attributes
    ----------
    positions_px
        (n, 2) y, x.
    roles
        (n,) names of roles.
    """

    positions_px: NDArray[np.float64]
    roles: NDArray[np.str_]


def declared(
    host: str,
    dopants: tuple[str, ...] = (),
    high_tension_kv: float | None = None,
    angles_mrad: tuple[float, float] | None = None,
    convergence_mrad: float | None = 30.0,
) -> ImagingContext:
    """A context as a user gives it; what is left out is not recorded with the frame."""

    def given(value: float | None) -> Quantity:
        return known(value, Source.USER, reason="not recorded with the frame")

    inner, outer = angles_mrad or (None, None)
    return ImagingContext(
        host, dopants, given(high_tension_kv), given(convergence_mrad), given(inner), given(outer)
    )


def image_of(folder: Path, name: str) -> NDArray[Any]:
    """A frame of the folder.

    Raises
    ------
    InputError
        Where it is not there, or cannot be read.
    """
    path = folder / name
    if not path.is_file():
        raise InputError(f"{folder} holds no {name}. Give the folder with the real frames.")
    return read_micrograph(path).image


def ti_wse2(folder: Path, detector: str) -> NDArray[Any]:
    """One detector's image of Ti-doped WSe2."""
    return image_of(folder, f"{TI_WSE2}_{detector}.tif")


def ti_wse2_labels(folder: Path) -> Labels:
    """Labels of that frame, made from the image by clustering that an expert guided.

    Raises
    ------
    InputError
        Where they are not there.
    """
    path = folder / f"{TI_WSE2}_labels.csv"
    if not path.is_file():
        raise InputError(f"{folder} holds no {path.name}. Give the folder with the real frames.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    positions = np.array([[float(r["y"]), float(r["x"])] for r in rows])
    return Labels(positions, np.array([_ROLES[r["class_name"]].value for r in rows]))
