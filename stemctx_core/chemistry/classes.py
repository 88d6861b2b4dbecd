"""What a site can be: roles, species and the candidate list of a material.

A role says what happened at a site, a species which chemistry stands there. Names are chosen so that ``V_W``
(vanadium on a tungsten site) cannot be read as a tungsten vacancy (``vac_W``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from stemctx_core.chemistry import columns, elements, materials
from stemctx_core.errors import InputError


class Sublattice(StrEnum):
    """The two occupied sublattices of a 1H monolayer."""

    METAL = "M"
    CHALCOGEN = "X"


class Role(StrEnum):
    """What happened at a site: the seven of L7, and those beyond them."""

    METAL = "M"
    DOPANT = "D_M"
    METAL_VACANCY = "vac_M"
    CHALCOGEN_PAIR = "X2"
    CHALCOGEN_VACANCY = "vac_X"
    CHALCOGEN_DIVACANCY = "vac_X2"
    OXYGEN = "O_X"
    METAL_ANTISITE = "M_X2"
    CHALCOGEN_ANTISITE = "X2_M"
    SUBSTITUTION = "Y_X"
    DOUBLE_SUBSTITUTION = "Y_X2"
    DOPANT_WITH_VACANCY = "D_M+vac_X"


HOST_ROLES: Final = frozenset({Role.METAL, Role.CHALCOGEN_PAIR})
L7: Final = (
    Role.METAL,
    Role.DOPANT,
    Role.METAL_VACANCY,
    Role.CHALCOGEN_PAIR,
    Role.CHALCOGEN_VACANCY,
    Role.CHALCOGEN_DIVACANCY,
    Role.OXYGEN,
)
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
    Role.METAL_ANTISITE: 0.001,
    Role.CHALCOGEN_ANTISITE: 0.0005,
    Role.SUBSTITUTION: 0.005,
    Role.DOUBLE_SUBSTITUTION: 0.0005,
    Role.DOPANT_WITH_VACANCY: 0.0005,
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
    vacancy_beside
        Whether one chalcogen is missing in one of the three nearest chalcogen columns.
    """

    role: Role
    species: str
    column: str
    sublattice: Sublattice
    vacancy_beside: bool = False

    @property
    def is_defect(self) -> bool:
        """Whether it is anything but the host's own column."""
        return self.role not in HOST_ROLES


def candidates(
    host_name: str,
    dopants: Iterable[str] = (),
    substitutes: Iterable[str] = (),
    antisites: bool = False,
    complexes: bool = False,
) -> tuple[Candidate, ...]:
    """Candidate list of a material: the L7 roles with one dopant role per dopant, and what is asked for beyond them.

    Parameters
    ----------
    host_name
        Formula of a known host.
    dopants
        Elements looked for on the metal site; may be empty.
    substitutes
        Chalcogens looked for on the chalcogen site, one or both atoms of a column replaced.
    antisites
        Whether to look for the host's metal on a chalcogen column, and for a chalcogen pair on a metal site.
    complexes
        Whether to look for each dopant with one vacancy beside it.

    Raises
    ------
    InputError
        Unknown host or element, one named twice or equal to the host's own.
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
    pair = f"{chalcogen}+{chalcogen}"
    listed = [
        Candidate(Role.METAL, metal, metal, on_metal),
        *(Candidate(Role.DOPANT, f"{d}_{metal}", d, on_metal) for d in named),
        Candidate(Role.METAL_VACANCY, f"vac_{metal}", columns.VACANT, on_metal),
        Candidate(Role.CHALCOGEN_PAIR, f"{chalcogen}2", pair, on_chalcogen),
        Candidate(Role.CHALCOGEN_VACANCY, f"vac_{chalcogen}", chalcogen, on_chalcogen),
        Candidate(Role.CHALCOGEN_DIVACANCY, f"vac_{chalcogen}2", columns.VACANT, on_chalcogen),
        Candidate(Role.OXYGEN, f"O_{chalcogen}", f"O+{chalcogen}", on_chalcogen),
    ]
    if antisites:
        listed += [
            Candidate(Role.METAL_ANTISITE, f"{metal}_{chalcogen}2", metal, on_chalcogen),
            Candidate(Role.CHALCOGEN_ANTISITE, f"{chalcogen}2_{metal}", pair, on_metal),
        ]
    for other in _substitutes(host, substitutes):
        listed += [
            Candidate(
                Role.SUBSTITUTION, f"{other}_{chalcogen}", columns.mixed_pair(chalcogen, other), on_chalcogen
            ),
            Candidate(Role.DOUBLE_SUBSTITUTION, f"{other}2_{chalcogen}2", f"{other}+{other}", on_chalcogen),
        ]
    if complexes:
        listed += [
            Candidate(Role.DOPANT_WITH_VACANCY, f"{d}_{metal}+vac_{chalcogen}", d, on_metal, True)
            for d in named
        ]
    return tuple(listed)


def _substitutes(host: materials.Host, substitutes: Iterable[str]) -> list[str]:
    named: list[str] = []
    for other in substitutes:
        if other not in columns.CHALCOGENS:
            raise InputError(f"'{other}' is not a chalcogen. Name one of {', '.join(columns.CHALCOGENS)}.")
        if other == host.chalcogen:
            raise InputError(f"'{other}' is the chalcogen of {host.name}, not a substitute. Name another.")
        if other in named:
            raise InputError(f"The substitute '{other}' is named twice. Name each element once.")
        named.append(other)
    return named


def sublattice_codes(candidates: Iterable[Candidate]) -> list[int]:
    """The sublattice of each candidate, 0 metal, 1 chalcogen."""
    return [list(Sublattice).index(c.sublattice) for c in candidates]


def priors(
    listed: Iterable[Candidate], prevalence: Mapping[Role, float] | Mapping[str, float] | None = None
) -> tuple[float, ...]:
    """Prior probability of each candidate at a site of its own sublattice.

    Candidates of one role share its prevalence; the host's column takes what is left.

    Parameters
    ----------
    prevalence
        Rates of roles or of species, which go first; roles that are not named keep the default.
    """
    return _priors(tuple(listed), tuple((str(name), rate) for name, rate in (prevalence or {}).items()))


@lru_cache(maxsize=64)
def _priors(listed: tuple[Candidate, ...], named: tuple[tuple[str, float], ...]) -> tuple[float, ...]:
    given = dict(named)
    rates: dict[str, float] = {**{str(r): v for r, v in REAL_PREVALENCE.items()}, **given}
    sharing = Counter(c.role for c in listed if c.species not in given)
    values = {
        c.species: given.get(c.species, rates[c.role] / max(1, sharing[c.role])) for c in listed if c.is_defect
    }
    left = {
        s: 1.0 - sum(values[c.species] for c in listed if c.is_defect and c.sublattice is s) for s in Sublattice
    }
    return tuple(values.get(c.species, left[c.sublattice]) for c in listed)
