"""Static lattices with one defect each, and the scattering around it: what the delta library is built from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns, materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.simulation.multislice import RING_MRAD
from stemctx_core.simulation.truth.delta import FIRST_RING_MRAD, key
from stemctx_core.simulation.truth.reference import Probe, supercell_rings
from stemctx_core.simulation.truth.supercells import (
    Atom,
    Grid,
    Supercell,
    atoms_at_rest,
    grid_for,
    host_column,
    perfect,
)

#: Dopants that are computed; others lie between them in Z.
DOPANTS: Final = ("Ti", "Fe", "Cu", "Rh", "Ta", "Au")
RADII_ANGSTROM: Final = (0.0, 0.3, 0.6, 0.9, 1.3, 1.8, 2.4)
#: Root mean square distance of a pair's atoms sideways (Å), √2 times 0.07 Å per axis and atom.
PAIR_DISPLACEMENT_ANGSTROM: Final = 0.14
#: Directions that stand for all under the site's threefold axis and mirror, and their share of a circle.
_DIRECTIONS_DEG: Final = (90.0, 270.0, 0.0)
SHARES: Final = (0.25, 0.25, 0.5)


@dataclass(frozen=True)
class DeltaPlan:
    """What to build."""

    hosts: tuple[str, ...] = tuple(materials.hosts())
    high_tensions_kv: tuple[float, ...] = (60.0, 80.0, 200.0)
    convergence_semi_angle_mrad: float = 30.0
    dopants: tuple[str, ...] = DOPANTS

    def defects(self, host: Host) -> tuple[tuple[Sublattice, str], ...]:
        """Every L9+ defect of one column."""
        x = host.chalcogen
        others = [c for c in columns.CHALCOGENS if c != x]
        on_metal = [*(d for d in self.dopants if d != host.metal), columns.VACANT, f"{x}+{x}"]
        on_chalcogen = [x, columns.VACANT, f"O+{x}", host.metal]
        on_chalcogen += [columns.mixed_pair(x, o) for o in others] + [f"{o}+{o}" for o in others]
        return (
            *((Sublattice.METAL, c) for c in on_metal),
            *((Sublattice.CHALCOGEN, c) for c in on_chalcogen),
        )

    def keys(self, host: Host) -> list[str]:
        """Names of the rows of a host: its own two columns, then its defects."""
        own = [key(s, host_column(host, s)) for s in Sublattice]
        return own + [key(*defect) for defect in self.defects(host)]

    def probe(self, high_tension_kv: float) -> Probe:
        """One probe an energy."""
        return Probe(high_tension_kv, self.convergence_semi_angle_mrad)


def lattice_rings(plan: DeltaPlan, host: Host, kv: float) -> NDArray[np.float32]:
    """(keys, positions, rings) of a lattice with each defect in turn, around it, as `DeltaPlan.keys` lists them.

    The first two are the perfect lattice around either host column.
    """
    wanted = (*((s, host_column(host, s)) for s in Sublattice), *plan.defects(host))
    return np.stack([defect_rings(plan, host, kv, *defect) for defect in wanted])


def defect_rings(
    plan: DeltaPlan, host: Host, kv: float, sublattice: Sublattice, column: str
) -> NDArray[np.float32]:
    """(positions, rings) of a lattice around a column that stands in it.

    Turned by half a circle, a pair of unlike atoms is another one: the mean of both is taken.
    """
    cell, grid = perfect(host), grid_of(plan, host, kv)
    first = round(FIRST_RING_MRAD / RING_MRAD)
    site = central(cell, sublattice)
    changed = cell.with_columns({site: column})
    unlike = columns.is_pair(column) and len(set(columns.elements(column))) > 1
    taken = [
        supercell_rings(host, tilted_pairs(changed, grid, turned), grid, around(cell, site), plan.probe(kv))[
            :, first:
        ]
        for turned in ((None, site) if unlike else (None,))
    ]
    mean: NDArray[np.float32] = np.mean(taken, axis=0)
    return mean


def grid_of(plan: DeltaPlan, host: Host, kv: float) -> Grid:
    """Pixels of a host's lattices at an energy."""
    return grid_for(host, kv, plan.probe(kv).outer_mrad)


def tilted_pairs(cell: Supercell, grid: Grid, turned: int | None = None) -> tuple[Atom, ...]:
    """Atoms at rest, but those of pairs as far apart sideways as they are thermally, at 45° to x and y.

    At 45° to the directions of the probe the tilt itself drops out of the mean over directions where both atoms are
    alike, and of the mean with the pair of one site `turned` the other way where they are not.
    """
    shifts = _tilt_px(cell.host, grid)
    moved = []
    for atom in atoms_at_rest(cell, grid):
        side = 0
        if columns.is_pair(cell.sites[atom.site].column):
            side = round(math.copysign(1, atom.height_angstrom)) * (-1 if atom.site == turned else 1)
        moved.append(replace(atom, x_px=atom.x_px + side * shifts[0], y_px=atom.y_px + side * shifts[1]))
    return tuple(moved)


def _tilt_px(host: Host, grid: Grid) -> tuple[int, ...]:
    return tuple(
        round(PAIR_DISPLACEMENT_ANGSTROM / math.sqrt(2) / pixel / 2) for pixel in grid.pixel_angstrom(host)
    )


def tilt_angstrom(column: str, host: Host, grid: Grid) -> float:
    """How far apart sideways the atoms of a column stand in `tilted_pairs`."""
    if not columns.is_pair(column):
        return 0.0
    return math.hypot(
        *(2 * n * p for n, p in zip(_tilt_px(host, grid), grid.pixel_angstrom(host), strict=True))
    )


def central(cell: Supercell, sublattice: Sublattice) -> int:
    """The site of a sublattice that is nearest to the middle."""
    middle = np.array(cell.size_angstrom) / 2
    apart = np.linalg.norm(cell.places_angstrom - middle, axis=1)
    return int(min((i for i, s in enumerate(cell.sites) if s.sublattice is sublattice), key=lambda i: apart[i]))


def around(cell: Supercell, site: int) -> NDArray[np.float64]:
    """(1 + 3 per further radius, 2): the centre, then each radius in its directions."""
    angles = np.radians(_DIRECTIONS_DEG)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = np.array(RADII_ANGSTROM[1:])[:, None, None] * unit
    around = np.concatenate([np.zeros((1, 2)), ring.reshape(-1, 2)])
    positions: NDArray[np.float64] = cell.places_angstrom[site] + around
    return positions
