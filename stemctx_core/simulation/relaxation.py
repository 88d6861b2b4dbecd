"""How columns move together, or aside, around a defect: a displacement field in the plane of the sheet.

Sign convention: positive is away from the defect, in Å, for five shells of the honeycomb, 1/√3, 1, 2/√3, √(7/3) and √3
lattice constants away. The shells at 1 and √3 are of the defect's own sublattice, the others of the other one. A column
of two chalcogens moves by the mean of its atoms. The fields of several defects add up.

The table (`data/relaxation.json`) was computed for this project with a published interatomic potential, as its source
line says: no open tabulation of these displacements was found. Around a vacancy all shells move inwards; that
selenium vacancies of WSe2 strain rings of the lattice around them was measured by Lee et al., Nano Lett. 20, 3369 (2020).
Its magnitudes are those of the potential and may be off by half. Another chalcogen moves its surroundings in
proportion to the difference of covalent radii, which is what the computed cases of S, Se and Te do; one atom of the column
moves them half as far as both. A metal antisite leaves its own axis for one of the three hollow sites beside it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import numpy as np
import periodictable
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.chemistry import materials
from stemctx_core.chemistry.classes import HOST_ROLES, Candidate, Role

#: Distances of the shells, in lattice constants.
SHELLS: Final = (1 / np.sqrt(3), 1.0, 2 / np.sqrt(3), np.sqrt(7 / 3), np.sqrt(3))
#: How far from its shell a column may stand and still be taken for one of it (lattice constants).
_SHELL_TOLERANCE: Final = 0.07


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = resources.files("stemctx_core.data").joinpath("relaxation.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def radial_displacement_angstrom(host_name: str, candidate: Candidate) -> NDArray[np.float64]:
    """Displacement of the five shells around what stands at a site (Å, positive away from it).

    A host that was not computed takes the mean of those that were; a dopant that was not, none.

    Returns
    -------
    numpy.ndarray
        (5,)

    Raises
    ------
    InputError
        Unknown host.
    """
    host = materials.host(host_name)
    table, role = _table()["radial_displacement_angstrom"], candidate.role
    if role in HOST_ROLES:
        return np.zeros(len(SHELLS))
    if role in (Role.DOPANT, Role.DOPANT_WITH_VACANCY):
        return np.array(table["dopant"].get(candidate.column, np.zeros(len(SHELLS))))
    if role in (Role.SUBSTITUTION, Role.DOUBLE_SUBSTITUTION):
        other = candidate.species.split("_")[0].removesuffix("2")
        larger = covalent_radius_angstrom(other) - covalent_radius_angstrom(host.chalcogen)
        slope = np.array(_table()["substitution_per_angstrom_of_covalent_radius"])
        return slope * larger * (0.5 if role is Role.SUBSTITUTION else 1.0)
    of_role = table[role.value]
    return np.array(of_role[host_name] if host_name in of_role else np.mean(list(of_role.values()), axis=0))


def covalent_radius_angstrom(element: str) -> float:
    """Covalent radius (Å) by Cordero et al., Dalton Trans. 2832 (2008), as periodictable carries it."""
    return float(periodictable.elements.symbol(element).covalent_radius)


def relaxation_angstrom(
    positions_angstrom: NDArray[np.float64],
    column_index: NDArray[np.int64],
    listed: tuple[Candidate, ...],
    host_name: str,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Displacement of every column by all defects around it, and of antisites from their own axis.

    Parameters
    ----------
    positions_angstrom
        (n, 2) y, x of the ideal lattice.
    column_index
        (n,) row of `listed` that stands there.
    listed
        What can stand at a site.
    host_name
        Formula of a known host.
    rng
        Draws to which of its hollow sites an antisite goes.

    Returns
    -------
    numpy.ndarray
        (n, 2) y, x in Å.
    """
    a = materials.host(host_name).a_angstrom
    moved = np.zeros_like(positions_angstrom)
    fields = np.array([radial_displacement_angstrom(host_name, c) for c in listed])
    source = np.flatnonzero(np.any(fields != 0, axis=1)[column_index])
    if not len(source):
        return moved
    reach = (SHELLS[-1] + _SHELL_TOLERANCE) * a
    near = cKDTree(positions_angstrom).query_ball_point(positions_angstrom[source], reach)
    of = np.repeat(source, [len(n) for n in near])
    neighbour = np.concatenate([np.asarray(n, np.int64) for n in near])
    away = positions_angstrom[neighbour] - positions_angstrom[of]
    distance = np.hypot(away[:, 0], away[:, 1])
    off = np.abs(distance[:, None] / a - np.array(SHELLS))
    shell = off.argmin(axis=1)
    on_shell = (off.min(axis=1) < _SHELL_TOLERANCE) & (neighbour != of)
    radial = np.where(on_shell, fields[column_index[of], shell], 0.0)
    np.add.at(moved, neighbour, (radial / np.maximum(distance, 1e-9))[:, None] * away)
    own = np.array([_table()["off_centre_angstrom"].get(c.role.value, 0.0) for c in listed])
    for site in source[own[column_index[source]] > 0]:
        around = np.flatnonzero((of == site) & on_shell & (shell == 0))
        if len(around):
            # The hollow sites lie opposite the three nearest columns.
            towards = -away[rng.choice(around)]
            moved[site] += own[column_index[site]] * towards / np.hypot(*towards)
    return moved
