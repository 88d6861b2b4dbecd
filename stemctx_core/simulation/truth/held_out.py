"""The supercells on which the libraries are validated: twelve, seeded, every host twice and every class of defect."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from stemctx_core.chemistry import columns, materials
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.simulation.truth.reference import REFERENCE_VERSION, Probe
from stemctx_core.simulation.truth.supercells import Atom, Grid, Supercell, frozen_phonons, grid_for, perfect

_SEED: Final = 20260609
#: A metal and a chalcogen site this near are neighbours (in units of a).
_BESIDE: Final = 0.6
#: Times as many thermal configurations in cells where four leave a site with a standard error near or above 1 % in
#: HAADF: at 200 kV the probe is as narrow as the atoms of a pair are apart thermally, and tellurium channels it.
_MORE_CONFIGURATIONS: Final = {
    "MoSe2-mixed": 4,
    "WTe2-mixed": 4,
    "MoTe2-mixed": 12,
    "MoTe2-point": 4,
    "WS2-mixed": 2,
}


@dataclass(frozen=True)
class HeldOutCell:
    """One supercell and how it is imaged.

    Attributes
    ----------
    name
        Such as ``WSe2-point``.
    cell, probe, grid
        What is there, and the simulation of it.
    seed
        Of its thermal configurations.
    """

    name: str
    cell: Supercell
    probe: Probe
    grid: Grid
    seed: int

    def atoms(self, configuration: int) -> tuple[Atom, ...]:
        """Atoms of one thermal configuration."""
        return frozen_phonons(self.cell, self.grid, np.random.default_rng([self.seed, configuration]))

    def configurations(self, least: int) -> int:
        """How many thermal configurations to take where cells of little spread take `least`."""
        return least * _MORE_CONFIGURATIONS.get(self.name, 1)

    def part_name(self, configuration: int) -> str:
        """File of one configuration; its last part is a digest of everything that the result rests on."""
        what = repr((REFERENCE_VERSION, self.cell.host, self.atoms(configuration), self.probe, self.grid))
        digest = hashlib.sha256(what.encode()).hexdigest()[:10]
        return f"{self.name}_{self.probe.high_tension_kv:g}kv_{configuration:02d}_{digest}.npy"

    def site_name(self, site: int) -> str:
        """Cell, energy and what stands at a site."""
        there = self.cell.sites[site]
        on = self.cell.native(there)
        what = on if there.column == on else f"{there.column} on {on}"
        return f"{self.name} {self.probe.high_tension_kv:g} kV, site {site}: {what}"


def held_out_cells() -> tuple[HeldOutCell, ...]:
    """Two cells a host: point defects at 80 kV; antisites, substitutions and a dopant cluster at 60 or 200 kV."""
    made = []
    for number, name in enumerate(materials.hosts()):
        rng = np.random.default_rng([_SEED, number])
        made.append(_held_out(f"{name}-point", _point_defects(name, rng), 80.0, 2 * number))
        kv = (60.0, 200.0)[number % 2]
        made.append(_held_out(f"{name}-mixed", _mixed_defects(name, rng), kv, 2 * number + 1))
    return tuple(made)


def small_cell() -> HeldOutCell:
    """The quick run's cell: point defects in WSe2 at 80 kV."""
    return next(c for c in held_out_cells() if c.name == "WSe2-point")


def _held_out(name: str, cell: Supercell, kv: float, seed: int) -> HeldOutCell:
    probe = Probe(kv)
    return HeldOutCell(name, cell, probe, grid_for(cell.host, kv, probe.outer_mrad), seed)


def _free(cell: Supercell, sublattice: Sublattice) -> list[int]:
    defects = set(cell.defects())
    return [i for i, s in enumerate(cell.sites) if s.sublattice is sublattice and i not in defects]


def _near(cell: Supercell, site: int, sublattice: Sublattice, reach: float) -> list[int]:
    places = cell.places_angstrom
    apart = np.linalg.norm(cell.offset_angstrom(places, places[site]), axis=1) / cell.host.a_angstrom
    return [i for i in _free(cell, sublattice) if 0 < apart[i] < reach]


def _put(cell: Supercell, keys: list[str], sublattice: Sublattice, rng: np.random.Generator) -> Supercell:
    chosen = rng.choice(_free(cell, sublattice), len(keys), replace=False)
    return cell.with_columns({int(i): key for i, key in zip(chosen, keys, strict=True)})


def _point_defects(name: str, rng: np.random.Generator) -> Supercell:
    """Four dopants, one with a vacancy beside it, a metal vacancy, two vacancies, a divacancy and two oxygens."""
    host = materials.host(name)
    dopants = [str(d) for d in rng.choice(materials.benchmark_dopants(name), 4, replace=False)]
    x = host.chalcogen
    cell = perfect(host)
    beside_to = int(rng.choice(_free(cell, Sublattice.METAL)))
    cell = cell.with_columns({beside_to: dopants[0]})
    cell = cell.with_columns({int(rng.choice(_near(cell, beside_to, Sublattice.CHALCOGEN, _BESIDE))): x})
    cell = _put(cell, [*dopants[1:], columns.VACANT], Sublattice.METAL, rng)
    return _put(cell, [x, columns.VACANT, f"O+{x}", f"O+{x}"], Sublattice.CHALCOGEN, rng)


def _mixed_defects(name: str, rng: np.random.Generator) -> Supercell:
    """A cluster of three dopants, both antisites, single and double substitutions, a metal vacancy, a vacancy."""
    host = materials.host(name)
    dopants = [str(d) for d in rng.choice(materials.benchmark_dopants(name), 3, replace=False)]
    x = host.chalcogen
    others = [c for c in columns.CHALCOGENS if c != x]
    cell = perfect(host)
    first = int(rng.choice(_free(cell, Sublattice.METAL)))
    cell = cell.with_columns({first: dopants[0]})
    for dopant in dopants[1:]:
        beside = _near(cell, first, Sublattice.METAL, 1.1)
        cell = cell.with_columns({int(rng.choice(beside)): dopant})
    cell = _put(cell, [columns.VACANT, f"{x}+{x}"], Sublattice.METAL, rng)
    mixed = [columns.mixed_pair(x, o) for o in others] + [f"{o}+{o}" for o in others]
    return _put(cell, [host.metal, x, *mixed], Sublattice.CHALCOGEN, rng)
