"""Colours and the names of roles, the same on the live image, in pictures, plots, reports and documentation.

No two roles of a defect, nor a defect and the host, become alike for a reader with any colour blindness; a test
measures it with `stemctx_core.look.colour_vision`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from stemctx_core.chemistry.classes import Role
from stemctx_core.chemistry.columns import CHALCOGENS

#: Of frequent roles Okabe and Ito's colours (https://jfly.uni-koeln.de/color/); those of rare ones, indigo of Paul Tol
#: (https://personal.sron.nl/~pault/) among them, were sought as far from these as possible.
ROLE_COLOURS: Final = {
    Role.METAL: "#CCCCCC",
    Role.CHALCOGEN_PAIR: "#CCCCCC",
    Role.DOPANT: "#E69F00",
    Role.METAL_VACANCY: "#CC79A7",
    Role.CHALCOGEN_VACANCY: "#56B4E9",
    Role.CHALCOGEN_DIVACANCY: "#0072B2",
    Role.OXYGEN: "#009E73",
    Role.METAL_ANTISITE: "#D55E00",
    Role.CHALCOGEN_ANTISITE: "#332288",
    Role.SUBSTITUTION: "#AA0000",
    Role.DOUBLE_SUBSTITUTION: "#CCFFCC",
    Role.DOPANT_WITH_VACANCY: "#664444",
}
#: A site of which nothing can be said at this dose.
UNDECIDED: Final = "#F0E442"
#: None of the roles.
NO_ROLE: Final = "#FFFFFF"
#: Lines of a plot that stand for no role, on a white ground.
SERIES: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#AA0000", "#664444",
)  # fmt: skip
#: A demand that is met, and one that is missed.
MET: Final = "#009E73"
MISSED: Final = "#D55E00"
#: Words and lines of a plot, from the most important down.
INK: Final = "#1b1f24"
SOFT: Final = "#59636e"
AXIS: Final = "#b6bec6"
GRID: Final = "#e3e7eb"

#: Roles of defects, as one says them.
ROLE_WORDS: Final = {
    Role.DOPANT: "dopant",
    Role.METAL_VACANCY: "metal vacancy",
    Role.CHALCOGEN_VACANCY: "chalcogen vacancy",
    Role.CHALCOGEN_DIVACANCY: "chalcogen divacancy",
    Role.OXYGEN: "oxygen",
    Role.METAL_ANTISITE: "metal antisite",
    Role.CHALCOGEN_ANTISITE: "chalcogen antisite",
    Role.SUBSTITUTION: "substituted chalcogen",
    Role.DOUBLE_SUBSTITUTION: "substituted chalcogen pair",
    Role.DOPANT_WITH_VACANCY: "dopant with a vacancy",
}


def role_of(species: str) -> Role | None:
    """Role that a defect's species names, such as a dopant for ``V_W``; None where it is none of a defect.

    The host's own columns, ``W`` and ``Se2``, have no role of a defect.
    """
    if "+vac_" in species:
        return Role.DOPANT_WITH_VACANCY
    what, _, site = species.partition("_")
    on_chalcogen = site.removesuffix("2") in CHALCOGENS
    if not site:
        return None
    if what == "vac":
        if not on_chalcogen:
            return Role.METAL_VACANCY
        return Role.CHALCOGEN_DIVACANCY if site.endswith("2") else Role.CHALCOGEN_VACANCY
    is_chalcogen = what.removesuffix("2") in CHALCOGENS
    if not on_chalcogen:
        return Role.CHALCOGEN_ANTISITE if is_chalcogen else Role.DOPANT
    if what == "O":
        return Role.OXYGEN
    if not is_chalcogen:
        return Role.METAL_ANTISITE
    return Role.DOUBLE_SUBSTITUTION if what.endswith("2") else Role.SUBSTITUTION


def curve_colours(names: Iterable[str], series: Sequence[str] = SERIES) -> tuple[str, ...]:
    """A colour for each curve: that of the role where a species has it to itself, and one of a series elsewhere.

    Parameters
    ----------
    names
        Of the curves, which may be species.
    series
        Colours for the others, used again where they are not enough.
    """
    listed = tuple(names)
    first: dict[str, str] = {}
    for name in listed:
        role = role_of(name)
        if role is not None and ROLE_COLOURS[role] not in first.values():
            first[name] = ROLE_COLOURS[role]
    free = [c for c in series if c not in first.values()] or list(series)
    others = [name for name in dict.fromkeys(listed) if name not in first]
    given = first | {name: free[i % len(free)] for i, name in enumerate(others)}
    return tuple(given[name] for name in listed)
