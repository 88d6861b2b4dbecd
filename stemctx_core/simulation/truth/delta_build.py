"""Building the delta library: static supercells of every host with one defect each, resumable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core.chemistry import columns, materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.simulation.finished import load_part, save_part
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.multislice import RING_MRAD, wavelength_angstrom
from stemctx_core.simulation.storage import write_library
from stemctx_core.simulation.truth.delta import FIRST_RING_MRAD, LAST_RADIUS_ANGSTROM, key
from stemctx_core.simulation.truth.reference import REFERENCE_VERSION, Probe, supercell_rings
from stemctx_core.simulation.truth.supercells import (
    Atom,
    Grid,
    Supercell,
    atoms_at_rest,
    grid_for,
    host_column,
    perfect,
)
from stemctx_core.simulation.truth.superposition import REACH_ANGSTROM

#: Dopants that are computed; others lie between them in Z.
DOPANTS: Final = ("Ti", "Fe", "Cu", "Rh", "Ta", "Au")
RADII_ANGSTROM: Final = (0.0, 0.3, 0.6, 0.9, 1.3, 1.8, 2.4)
#: Root mean square distance of a pair's atoms sideways (Å), √2 times 0.07 Å per axis and atom.
PAIR_DISPLACEMENT_ANGSTROM: Final = 0.14
#: Directions that stand for all under the site's threefold axis and mirror, and their share of a circle.
_DIRECTIONS_DEG: Final = (90.0, 270.0, 0.0)
_SHARES: Final = (0.25, 0.25, 0.5)
_PENALTY: Final = 0.02


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
    plan: DeltaPlan,
    library: ResponseLibrary,
    output: Path,
    work_folder: Path,
    progress: Callable[[int, int, str], None],
) -> dict[str, object]:
    """Simulate what is not in the work folder yet, then write the corrections of a column library.

    Each host at each energy is one part; parts do not depend on the column library. Returns the provenance.
    """
    work_folder.mkdir(parents=True, exist_ok=True)
    jobs = [(materials.host(name), kv) for name in plan.hosts for kv in plan.high_tensions_kv]
    arrays: dict[str, NDArray[np.generic]] = {}
    for done, (host, kv) in enumerate(jobs):
        progress(done, len(jobs), f"{host.name} {kv:g} kV")
        path = work_folder / _part_name(plan, host, kv)
        if not path.exists():
            save_part(path, lattice_rings(plan, host, kv))
        arrays[f"{host.name}_{kv:g}"] = host_corrections(plan, host, kv, load_part(path), library)
    progress(len(jobs), len(jobs), "writing")
    provenance: dict[str, object] = {
        "what": "fraction of the beam in 5 mrad rings that a column scatters in the lattice beyond what it does alone",
        "library_sha256": library.sha256,
        "high_tensions_kv": list(plan.high_tensions_kv),
        "convergence_semi_angle_mrad": plan.convergence_semi_angle_mrad,
        "keys": {name: plan.keys(materials.host(name)) for name in plan.hosts},
        "radii_angstrom": list(RADII_ANGSTROM),
        "first_ring_mrad": FIRST_RING_MRAD,
        "ring_width_mrad": RING_MRAD,
        "state": "pairs tilted by their thermal displacement, unlike ones both ways; one slice a plane of atoms; averaged "
        "over directions; damped by the Debye-Waller factor of the host's two atoms",
        "versions": {name: importlib.metadata.version(name) for name in ("abtem", "ase", "numpy")},
    }
    write_library(output, arrays, provenance)
    return provenance


def _part_name(plan: DeltaPlan, host: Host, kv: float) -> str:
    tilts = (PAIR_DISPLACEMENT_ANGSTROM, "unlike pairs both ways")
    what = repr((REFERENCE_VERSION, tilts, host, plan.keys(host), plan.probe(kv), RADII_ANGSTROM))
    return f"lattice_{host.name}_{kv:g}kv_{hashlib.sha256(what.encode()).hexdigest()[:10]}.npy"


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
    cell, grid = perfect(host), _grid(plan, host, kv)
    first = round(FIRST_RING_MRAD / RING_MRAD)
    site = _central(cell, sublattice)
    changed = cell.with_columns({site: column})
    unlike = columns.is_pair(column) and len(set(columns.elements(column))) > 1
    taken = [
        supercell_rings(host, tilted_pairs(changed, grid, turned), grid, _around(cell, site), plan.probe(kv))[
            :, first:
        ]
        for turned in ((None, site) if unlike else (None,))
    ]
    mean: NDArray[np.float32] = np.mean(taken, axis=0)
    return mean


def host_corrections(
    plan: DeltaPlan, host: Host, kv: float, lattice: NDArray[np.float32], library: ResponseLibrary
) -> NDArray[np.float32]:
    """(keys, radii, rings) that a column library lacks of `lattice_rings`."""
    cell, grid = perfect(host), _grid(plan, host, kv)
    shape = lattice.shape[-1]
    corrections = list(_shared_out(cell, grid, lattice[:2].astype(np.float64), library, kv))
    for row, (sublattice, column) in enumerate(plan.defects(host), start=2):
        whole = lattice[list(Sublattice).index(sublattice)]
        in_lattice = _mean_over_directions(lattice[row].astype(np.float64) - whole)
        own, native = (
            _Alone(library, key, kv, _tilt_angstrom(key, host, grid), shape).at(np.array(RADII_ANGSTROM))
            for key in (column, host_column(host, sublattice))
        )
        corrections.append(in_lattice - (own - native))
    return (np.stack(corrections) * thermal_damping(host, kv, shape)).astype(np.float32)


def thermal_damping(host: Host, kv: float, rings: int) -> NDArray[np.float64]:
    """(rings,) share of a static correction that is left when the atoms move.

    Neighbouring columns add up to something else than their sum because their waves interfere. Atoms that move apart
    from each other by u₁ and u₂ per axis leave exp(-q²(u₁² + u₂²)/2) of the interference at scattering vector q, the
    Debye-Waller factor of the two (Loane, Xu and Silcox, Ultramicroscopy 40 (1992) 121). What is not interference is
    damped with it, which is wrong beyond 150 mrad. Against the held-out cells, over bands from 50 to 200 mrad, the sum
    of squared errors in units of the thermal noise is 3800, 6800 and 2100 for columns at 60, 80 and 200 kV, 2500, 5200
    and 2500 with damped corrections, and 5200, 15200 and 7300 with undamped ones.
    """
    angles = (FIRST_RING_MRAD + RING_MRAD * (np.arange(rings) + 0.5)) * 1e-3
    wave_vectors = 2 * np.pi * angles / wavelength_angstrom(kv)
    square = np.mean([columns.thermal_rms_angstrom(e) ** 2 for e in (host.metal, host.chalcogen)])
    damping: NDArray[np.float64] = np.exp(-(wave_vectors**2) * square)
    return damping


def _grid(plan: DeltaPlan, host: Host, kv: float) -> Grid:
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


def _tilt_angstrom(column: str, host: Host, grid: Grid) -> float:
    if not columns.is_pair(column):
        return 0.0
    return math.hypot(
        *(2 * n * p for n, p in zip(_tilt_px(host, grid), grid.pixel_angstrom(host), strict=True))
    )


class _Alone:
    """A column of the library by distance of the probe, ring by ring, its atoms a distance apart."""

    def __init__(self, library: ResponseLibrary, column: str, kv: float, apart: float, rings: int) -> None:
        self._rings = rings
        self._spline = None
        if column != columns.VACANT:
            radii, displacements, stored = library.rings_at_rest(column, kv)
            shares = np.array([np.interp(apart, displacements, row) for row in np.eye(len(displacements))])
            self._last = float(radii[-1])
            profile = np.tensordot(shares, stored[..., :rings], axes=1)
            self._spline = CubicSpline(radii, profile, bc_type=("clamped", "natural"))

    def at(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """(distances, rings)."""
        if self._spline is None:
            return np.zeros((*distances.shape, self._rings))
        tail = np.exp(-np.clip(distances - self._last, 0, None)) * (distances < REACH_ANGSTROM)
        values: NDArray[np.float64] = self._spline(np.minimum(distances, self._last)) * tail[..., None]
        return values


def _central(cell: Supercell, sublattice: Sublattice) -> int:
    middle = np.array(cell.size_angstrom) / 2
    apart = np.linalg.norm(cell.places_angstrom - middle, axis=1)
    return int(min((i for i, s in enumerate(cell.sites) if s.sublattice is sublattice), key=lambda i: apart[i]))


def _around(cell: Supercell, site: int) -> NDArray[np.float64]:
    """(1 + 3 per further radius, 2): the centre, then each radius in its directions."""
    angles = np.radians(_DIRECTIONS_DEG)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = np.array(RADII_ANGSTROM[1:])[:, None, None] * unit
    around = np.concatenate([np.zeros((1, 2)), ring.reshape(-1, 2)])
    positions: NDArray[np.float64] = cell.places_angstrom[site] + around
    return positions


def _mean_over_directions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at `_around` to (radii, rings)."""
    rest = values[1:].reshape(len(RADII_ANGSTROM) - 1, len(_SHARES), -1)
    return np.concatenate([values[:1], np.einsum("d,rdk->rk", np.array(_SHARES), rest)])


def _shared_out(
    cell: Supercell, grid: Grid, lattice: NDArray[np.float64], library: ResponseLibrary, kv: float
) -> Iterator[NDArray[np.float64]]:
    """The perfect lattice less the sum of its columns, as one radial function for each of the two columns.

    Least squares over all positions, each function linear between `RADII_ANGSTROM` and zero from
    `LAST_RADIUS_ANGSTROM`; a small penalty on their size settles what the positions do not.
    """
    at = np.concatenate([_around(cell, _central(cell, s)) for s in Sublattice])
    target = lattice.reshape(len(at), -1).copy()
    nodes = np.append(RADII_ANGSTROM, LAST_RADIUS_ANGSTROM)
    hats = np.eye(len(nodes))[:-1]
    design = np.zeros((len(at), len(Sublattice), len(hats)))
    for which, sublattice in enumerate(Sublattice):
        column = host_column(cell.host, sublattice)
        alone = _Alone(library, column, kv, _tilt_angstrom(column, cell.host, grid), target.shape[-1])
        for site, place in zip(cell.sites, cell.places_angstrom, strict=True):
            if site.sublattice is sublattice:
                distance = np.linalg.norm(cell.offset_angstrom(at, place), axis=1)
                target -= alone.at(distance)
                design[:, which] += np.stack([np.interp(distance, nodes, hat) for hat in hats], axis=1)
    flat = design.reshape(len(at), -1)
    solved = np.linalg.solve(flat.T @ flat + _PENALTY * np.eye(flat.shape[1]), flat.T @ target)
    shared = solved.reshape(len(Sublattice), len(hats), -1).astype(np.float64)
    yield from shared
