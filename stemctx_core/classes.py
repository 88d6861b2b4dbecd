"""What a site can be: roles, species and the candidate list of a material.

A role says what happened at a site, a species which chemistry stands there. Names are chosen so that ``V_W``
(vanadium on a tungsten site) cannot be read as a tungsten vacancy (``vac_W``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from stemctx_core import elements, materials
from stemctx_core.errors import InputError
from stemctx_core.simulation import columns


class Sublattice(StrEnum):
    """The two occupied sublattices of a 1H monolayer."""

    METAL = "M"
    CHALCOGEN = "X"


class Role(StrEnum):
    """Label space L7."""

    METAL = "M"
    DOPANT = "D_M"
    METAL_VACANCY = "vac_M"
    CHALCOGEN_PAIR = "X2"
    CHALCOGEN_VACANCY = "vac_X"
    CHALCOGEN_DIVACANCY = "vac_X2"
    OXYGEN = "O_X"


HOST_ROLES: Final = frozenset({Role.METAL, Role.CHALCOGEN_PAIR})
L7: Final = tuple(Role)
L5: Final = (
    Role.METAL,
    Role.DOPANT,
    Role.CHALCOGEN_PAIR,
    Role.CHALCOGEN_VACANCY,
    Role.CHALCOGEN_DIVACANCY,
)

#: How often each role is met at a site of its sublattice in a real crystal (benchmark's real prevalence).
REAL_PREVALENCE: Final = {
    Role.DOPANT: 0.01,
    Role.METAL_VACANCY: 0.003,
    Role.CHALCOGEN_VACANCY: 0.03,
    Role.CHALCOGEN_DIVACANCY: 0.003,
    Role.OXYGEN: 0.01,
}


class Candidate(msgspec.Struct, frozen=True):
    """One possibility for a site.

    Attributes
    ----------
    role
        What happened.
    species
        Chemistry, such as ``V_W`` or ``vac_Se2``.
    column
        Key in the response library.
    sublattice
        Where it can stand.
    """

    role: Role
    species: str
    column: str
    sublattice: Sublattice

    @property
    def is_defect(self) -> bool:
        """Whether it is anything but the host's own column."""
        return self.role not in HOST_ROLES


def candidates(host_name: str, dopants: Iterable[str] = ()) -> tuple[Candidate, ...]:
    """Candidate list of a material: the L7 roles, with one dopant role per dopant element.

    Parameters
    ----------
    host_name
        Formula of a known host.
    dopants
        Elements looked for on the metal site; may be empty.

    Raises
    ------
    InputError
        Unknown host or element, a dopant named twice or equal to the host's metal.
    """
    host = materials.host(host_name)
    metal, chalcogen = host.metal, host.chalcogen
    named: list[str] = []
    for dopant in dopants:
        elements.atomic_number(dopant)
        if dopant == metal:
            raise InputError(
                f"'{dopant}' is the metal of {host_name}, not a dopant of it. Name another element."
            )
        if dopant in named:
            raise InputError(f"The candidate '{dopant}' is named twice. Name each element once.")
        if dopant not in columns.METALS:
            raise InputError(
                f"The response library has no column of '{dopant}'. It holds {', '.join(columns.METALS)}."
            )
        named.append(dopant)
    on_metal, on_chalcogen = Sublattice.METAL, Sublattice.CHALCOGEN
    return (
        Candidate(Role.METAL, metal, metal, on_metal),
        *(Candidate(Role.DOPANT, f"{d}_{metal}", d, on_metal) for d in named),
        Candidate(Role.METAL_VACANCY, f"vac_{metal}", columns.VACANT, on_metal),
        Candidate(Role.CHALCOGEN_PAIR, f"{chalcogen}2", f"{chalcogen}+{chalcogen}", on_chalcogen),
        Candidate(Role.CHALCOGEN_VACANCY, f"vac_{chalcogen}", chalcogen, on_chalcogen),
        Candidate(Role.CHALCOGEN_DIVACANCY, f"vac_{chalcogen}2", columns.VACANT, on_chalcogen),
        Candidate(Role.OXYGEN, f"O_{chalcogen}", f"O+{chalcogen}", on_chalcogen),
    )


def priors(listed: Iterable[Candidate], prevalence: dict[Role, float] | None = None) -> tuple[float, ...]:
    """Prior probability of each candidate at a site of its own sublattice.

    The dopants of a list share the dopant prevalence; the host's column takes what is left.
    """
    rates = REAL_PREVALENCE if prevalence is None else prevalence
    listed = tuple(listed)
    dopant_count = max(1, sum(c.role is Role.DOPANT for c in listed))
    values = {
        c.species: rates[c.role] / (dopant_count if c.role is Role.DOPANT else 1) for c in listed if c.is_defect
    }
    left = {
        s: 1.0 - sum(values[c.species] for c in listed if c.is_defect and c.sublattice is s) for s in Sublattice
    }
    return tuple(values.get(c.species, left[c.sublattice]) for c in listed)
