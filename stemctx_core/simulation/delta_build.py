"""Building the delta library: static supercells of every host with one defect each, resumable."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core import materials
from stemctx_core.classes import Sublattice
from stemctx_core.materials import Host
from stemctx_core.simulation import columns
from stemctx_core.simulation.delta import FIRST_RING_MRAD, LAST_RADIUS_ANGSTROM, key
from stemctx_core.simulation.multislice import RING_MRAD
from stemctx_core.simulation.reference import REFERENCE_VERSION, Probe, supercell_rings
from stemctx_core.simulation.reference_runs import load, save
from stemctx_core.simulation.storage import write_library
from stemctx_core.simulation.supercells import Supercell, atoms_at_rest, grid_for, host_column, perfect

#: Dopants that are computed; others lie between them in Z.
DOPANTS: Final = ("Ti", "Fe", "Cu", "Rh", "Ta", "Au")
RADII_ANGSTROM: Final = (0.0, 0.3, 0.6, 0.9, 1.3, 1.8, 2.4)
#: Differences need no finer grid than this (Å).
_COARSEST_ANGSTROM: Final = 0.05
#: Directions that stand for all under the site's threefold axis and mirror, and their share of a circle.
_DIRECTIONS_DEG: Final = (90.0, 270.0, 0.0)
_SHARES: Final = (0.25, 0.25, 0.5)
#: Distances at which a column alone is taken, beyond half the cell.
_ALONE_RADII: Final = np.concatenate([np.arange(0, 1.5, 0.15), np.arange(1.5, 3, 0.25), np.arange(3, 9.1, 0.5)])


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


def build_deltas(
    plan: DeltaPlan, output: Path, work_folder: Path, progress: Callable[[int, int, str], None]
) -> dict[str, object]:
    """Compute what is not in the work folder yet, then write the library.

    Each host at each energy is one part. Returns the provenance.
    """
    work_folder.mkdir(parents=True, exist_ok=True)
    jobs = [(materials.host(name), kv) for name in plan.hosts for kv in plan.high_tensions_kv]
    arrays: dict[str, NDArray[np.generic]] = {}
    for done, (host, kv) in enumerate(jobs):
        progress(done, len(jobs), f"{host.name} {kv:g} kV")
        path = work_folder / _part_name(plan, host, kv)
        if not path.exists():
            save(path, host_corrections(plan, host, kv))
        arrays[f"{host.name}_{kv:g}"] = load(path)
    progress(len(jobs), len(jobs), "writing")
    provenance: dict[str, object] = {
        "what": "fraction of the beam in 5 mrad rings that a column scatters in the lattice beyond what it does alone",
        "high_tensions_kv": list(plan.high_tensions_kv),
        "convergence_semi_angle_mrad": plan.convergence_semi_angle_mrad,
        "keys": {name: plan.keys(materials.host(name)) for name in plan.hosts},
        "radii_angstrom": list(RADII_ANGSTROM),
        "first_ring_mrad": FIRST_RING_MRAD,
        "ring_width_mrad": RING_MRAD,
        "state": "atoms at rest, one slice a plane of atoms, averaged over directions",
        "versions": {name: importlib.metadata.version(name) for name in ("abtem", "ase", "numpy")},
    }
    write_library(output, arrays, provenance)
    return provenance


def _part_name(plan: DeltaPlan, host: Host, kv: float) -> str:
    what = repr((REFERENCE_VERSION, host, plan.keys(host), plan.probe(kv), RADII_ANGSTROM))
    return f"delta_{host.name}_{kv:g}kv_{hashlib.sha256(what.encode()).hexdigest()[:10]}.npy"


def host_corrections(plan: DeltaPlan, host: Host, kv: float) -> NDArray[np.float32]:
    """(keys, radii, rings) of a host at an energy, in the order of `DeltaPlan.keys`."""
    probe = plan.probe(kv)
    cell = perfect(host)
    grid = grid_for(host, kv, probe.outer_mrad, _COARSEST_ANGSTROM)
    centres = {s: _central(cell, s) for s in Sublattice}
    positions = {s: _around(cell, centres[s]) for s in Sublattice}

    def rings(of: Supercell, at: NDArray[np.float64], only: int | None = None) -> NDArray[np.float64]:
        atoms = [a for a in atoms_at_rest(of, grid) if only in (None, a.site)]
        first = round(FIRST_RING_MRAD / RING_MRAD)
        if not atoms:
            return np.zeros((len(at), round(probe.outer_mrad / RING_MRAD) - first))
        return supercell_rings(host, atoms, grid, at, probe)[:, first:].astype(np.float64)

    def alone(of: Supercell, site: int, radii: NDArray[np.float64]) -> NDArray[np.float64]:
        away = of.places_angstrom[site] + radii[:, None] * np.array([1.0, 0.0])
        return rings(of, away, site)

    whole = {s: rings(cell, positions[s]) for s in Sublattice}
    own = {s: alone(cell, centres[s], _ALONE_RADII) for s in Sublattice}
    corrections = list(_shared_out(cell, positions, whole, own))
    radii = np.array(RADII_ANGSTROM)
    own_near = {s: CubicSpline(_ALONE_RADII, own[s], axis=0)(radii) for s in Sublattice}
    for sublattice, column in plan.defects(host):
        site = centres[sublattice]
        changed = cell.with_columns({site: column})
        in_lattice = _mean_over_directions(rings(changed, positions[sublattice]) - whole[sublattice])
        corrections.append(in_lattice - (alone(changed, site, radii) - own_near[sublattice]))
    return np.stack(corrections).astype(np.float32)


def _central(cell: Supercell, sublattice: Sublattice) -> int:
    middle = np.array(cell.size_angstrom) / 2
    apart = np.linalg.norm(cell.places_angstrom - middle, axis=1)
    return int(min((i for i, s in enumerate(cell.sites) if s.sublattice is sublattice), key=lambda i: apart[i]))


def _around(cell: Supercell, site: int) -> NDArray[np.float64]:
    """(1 + 3 per further radius, 2): the centre, then each radius in its directions."""
    angles = np.radians(_DIRECTIONS_DEG)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = np.array(RADII_ANGSTROM[1:])[:, None, None] * unit
    positions: NDArray[np.float64] = cell.places_angstrom[site] + np.concatenate(
        [np.zeros((1, 2)), ring.reshape(-1, 2)]
    )
    return positions


def _mean_over_directions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at `_around` to (radii, rings)."""
    rest = values[1:].reshape(len(RADII_ANGSTROM) - 1, len(_SHARES), -1)
    return np.concatenate([values[:1], np.einsum("d,rdk->rk", np.array(_SHARES), rest)])


def _shared_out(
    cell: Supercell,
    positions: dict[Sublattice, NDArray[np.float64]],
    whole: dict[Sublattice, NDArray[np.float64]],
    own: dict[Sublattice, NDArray[np.float64]],
) -> Iterator[NDArray[np.float64]]:
    """The perfect lattice less the sum of its columns, as one radial function for each of the two columns.

    Least squares over all positions, each function linear between `RADII_ANGSTROM` and zero from
    `LAST_RADIUS_ANGSTROM`; a small penalty on their size settles what the positions do not.
    """
    at = np.concatenate([positions[s] for s in Sublattice])
    target = np.concatenate([whole[s] for s in Sublattice])
    nodes = np.append(RADII_ANGSTROM, LAST_RADIUS_ANGSTROM)
    hats = np.eye(len(nodes))[:-1]
    splines = {s: CubicSpline(_ALONE_RADII, own[s], axis=0) for s in Sublattice}
    design = np.zeros((len(at), len(Sublattice), len(hats)))
    for site, place in zip(cell.sites, cell.places_angstrom, strict=True):
        distance = np.linalg.norm(cell.offset_angstrom(at, place), axis=1)
        near = distance < _ALONE_RADII[-1]
        target[near] -= splines[site.sublattice](distance[near])
        which = list(Sublattice).index(site.sublattice)
        design[:, which] += np.stack([np.interp(distance, nodes, hat) for hat in hats], axis=1)
    flat = design.reshape(len(at), -1)
    solved = np.linalg.solve(flat.T @ flat + 0.02 * np.eye(flat.shape[1]), flat.T @ target)
    yield from solved.reshape(len(Sublattice), len(hats), -1)
