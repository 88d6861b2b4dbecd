"""Names of atomic columns and what stands in them.

A column, not an atom, is the unit of simulation: two chalcogens in one column are not twice one.
Keys: ``"W"`` a metal alone in the metal plane; ``"Se"`` one chalcogen (a single vacancy); ``"Se+Se"`` a full
chalcogen column; ``"O+Se"`` one chalcogen replaced by oxygen; ``"vacant"`` nothing.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

VACANT: Final = "vacant"

CHALCOGENS: Final = ("S", "Se", "Te")

#: Distance between the two chalcogen planes (Å), mean over the Mo and W hosts of `data/hosts.json`.
CHALCOGEN_SEPARATION_ANGSTROM: Final = {"S": 3.124, "Se": 3.317, "Te": 3.578}

#: Root-mean-square thermal displacement per axis at room temperature (Å). Representative values for TMD
#: monolayers; literature spreads by 0.02 Å, which moves X2/M by up to 0.08 at 40-70 mrad and 0.02 above 50.
THERMAL_RMS_ANGSTROM: Final = {"O": 0.07, "S": 0.07, "Se": 0.07, "Te": 0.07, "W": 0.055, "Mo": 0.06}
DEFAULT_THERMAL_RMS_ANGSTROM: Final = 0.06

METALS: Final = (
    "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Nb", "Mo", "Ru", "Rh", "Ta", "W", "Re", "Pt", "Au",
    "Zr", "Hf", "Os", "Ir", "Sn", "Zn",
)  # fmt: skip


def is_pair(column: str) -> bool:
    """Whether two atoms stand above each other in the column."""
    return "+" in column


def elements(column: str) -> tuple[str, ...]:
    """Elements of a column from entrance to exit surface; empty for a vacant one."""
    return () if column == VACANT else tuple(column.split("+"))


def separation_angstrom(column: str) -> float:
    """Distance of the chalcogen planes that bound the column's slab (Å)."""
    chalcogens = [e for e in elements(column) if e in CHALCOGENS]
    return CHALCOGEN_SEPARATION_ANGSTROM[chalcogens[-1]] if chalcogens else 3.3


def thermal_rms_angstrom(element: str) -> float:
    """Thermal displacement of an element per axis (Å rms)."""
    return THERMAL_RMS_ANGSTROM.get(element, DEFAULT_THERMAL_RMS_ANGSTROM)


def relative_motion_angstrom(pair: str) -> float:
    """Thermal displacement of the atoms of a pair against each other (Å rms per axis)."""
    return math.hypot(*(thermal_rms_angstrom(e) for e in elements(pair)))


def motion_angstrom(column: str) -> float:
    """Thermal displacement of a column's middle (Å rms per axis)."""
    motion = math.hypot(*(thermal_rms_angstrom(e) for e in elements(column)))
    return motion / 2 if is_pair(column) else motion


def standard_columns() -> tuple[str, ...]:
    """Every column that the 96 materials and the held-out ones need with all classes."""
    pairs = itertools.chain.from_iterable((f"{x}+{x}", f"O+{x}") for x in CHALCOGENS)
    mixed = (mixed_pair(x, y) for x, y in itertools.combinations(CHALCOGENS, 2))
    return (*METALS, *CHALCOGENS, *pairs, *mixed)


def mixed_pair(one: str, other: str) -> str:
    """Key of a column of two different chalcogens; which of them the beam meets first changes it by under 0.5 %."""
    return "+".join(sorted((one, other), key=CHALCOGENS.index))
