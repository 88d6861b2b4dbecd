"""Orthorhombic supercells of a 1H monolayer whose atoms stand on whole pixels of the potential.

An atom a fraction of a pixel off is wrong by up to 15 % at 0.05 Å sampling. The grid is therefore chosen so that
a/2 and √3a/6, the steps of the two sublattices, are whole pixels; thermal displacements are whole pixels as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import columns
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import InputError
from stemctx_core.simulation.multislice import required_sampling_angstrom

#: Orthorhombic cells (a × √3a, four columns) along x and y.
CELLS: Final = (5, 3)
#: Pixels of a/2 and of √3a/6, the smallest steps of the lattice; their multiples have small prime factors only.
GRIDS: Final = ((35, 20), (42, 24), (45, 25), (50, 28), (56, 32), (63, 36), (70, 40), (84, 48))


@dataclass(frozen=True)
class Grid:
    """Pixels of the steps of the lattice: a/2 along x, √3a/6 along y."""

    half_a_px: int
    sixth_px: int

    @property
    def shape_px(self) -> tuple[int, int]:
        """Pixels along x and y of the whole cell."""
        return 2 * CELLS[0] * self.half_a_px, 6 * CELLS[1] * self.sixth_px

    def pixel_angstrom(self, host: Host) -> tuple[float, float]:
        """Sampling along x and y (Å)."""
        return host.a_angstrom / 2 / self.half_a_px, math.sqrt(3) * host.a_angstrom / 6 / self.sixth_px


def grid_for(host: Host, high_tension_kv: float, outer_mrad: float, coarsest_angstrom: float = 0.042) -> Grid:
    """The smallest grid that reaches an outer angle at an energy.

    Raises
    ------
    InputError
        Where none of `GRIDS` does.
    """
    needed = min(required_sampling_angstrom(high_tension_kv, outer_mrad), coarsest_angstrom)
    for steps in GRIDS:
        grid = Grid(*steps)
        if max(grid.pixel_angstrom(host)) <= needed:
            return grid
    raise InputError(
        f"{host.name} at {high_tension_kv:g} kV out to {outer_mrad:g} mrad needs a sampling of {needed:.4f} Å, finer than "
        "any grid of the reference. Ask for a smaller outer angle."
    )


@dataclass(frozen=True)
class Site:
    """One column of a supercell.

    Attributes
    ----------
    half_a, sixth
        Place in steps of a/2 along x and of √3a/6 along y.
    sublattice
        Which of the two.
    column
        What stands there, a key of `stemctx_core.chemistry.columns`.
    """

    half_a: int
    sixth: int
    sublattice: Sublattice
    column: str


@dataclass(frozen=True)
class Supercell:
    """A periodic piece of a monolayer.

    Attributes
    ----------
    host
        The crystal.
    sites
        Every column, vacant ones too.
    """

    host: Host
    sites: tuple[Site, ...]

    @property
    def size_angstrom(self) -> tuple[float, float]:
        """Sides along x and y (Å)."""
        return CELLS[0] * self.host.a_angstrom, CELLS[1] * math.sqrt(3) * self.host.a_angstrom

    @property
    def places_angstrom(self) -> NDArray[np.float64]:
        """(sites, 2) x, y of the columns (Å)."""
        steps = np.array([(s.half_a, s.sixth) for s in self.sites], float)
        a = self.host.a_angstrom
        places: NDArray[np.float64] = steps * np.array([a / 2, math.sqrt(3) * a / 6])
        return places

    def native(self, site: Site) -> str:
        """What the perfect crystal has at a site."""
        return host_column(self.host, site.sublattice)

    def defects(self) -> tuple[int, ...]:
        """Sites that are not the host's own."""
        return tuple(i for i, s in enumerate(self.sites) if s.column != self.native(s))

    def with_columns(self, replaced: dict[int, str]) -> Supercell:
        """The same cell with other columns at some sites."""
        sites = tuple(
            Site(s.half_a, s.sixth, s.sublattice, replaced.get(i, s.column)) for i, s in enumerate(self.sites)
        )
        return Supercell(self.host, sites)

    def offset_angstrom(self, of: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shortest periodic vectors `of` - `to` (Å), broadcast over leading axes."""
        size = np.array(self.size_angstrom)
        between = of - to
        shortest: NDArray[np.float64] = between - size * np.round(between / size)
        return shortest


def host_column(host: Host, sublattice: Sublattice) -> str:
    """Library key of the host's own column."""
    return host.metal if sublattice is Sublattice.METAL else f"{host.chalcogen}+{host.chalcogen}"


def perfect(host: Host) -> Supercell:
    """A supercell without defects, its first site a metal in the corner."""
    sites = []
    for j in range(CELLS[1]):
        for i in range(CELLS[0]):
            for dx, dy, sublattice in (
                (0, 0, Sublattice.METAL),
                (0, 2, Sublattice.CHALCOGEN),
                (1, 3, Sublattice.METAL),
                (1, 5, Sublattice.CHALCOGEN),
            ):
                sites.append(Site(2 * i + dx, 6 * j + dy, sublattice, host_column(host, sublattice)))
    return Supercell(host, tuple(sites))


@dataclass(frozen=True)
class Atom:
    """An atom on a pixel of the potential, `height_angstrom` above the metal plane along the beam, in column `site`."""

    element: str
    x_px: int
    y_px: int
    height_angstrom: float
    site: int


def atoms_at_rest(cell: Supercell, grid: Grid) -> tuple[Atom, ...]:
    """Every atom where the lattice has it.

    A chalcogen that is not the host's stands at the height it has in its own crystals, which is the larger part of
    how it relaxes; oxygen stands where the chalcogen stood that it replaces.
    """
    found = []
    for index, site in enumerate(cell.sites):
        x, y = site.half_a * grid.half_a_px, site.sixth * grid.sixth_px
        kinds = columns.elements(site.column)
        sides = (-1.0, 1.0) if len(kinds) == 2 else (-1.0,)
        for kind, side in zip(kinds, sides, strict=False):
            found.append(Atom(kind, x, y, side * _height_angstrom(cell.host, kind), index))
    return tuple(found)


def _height_angstrom(host: Host, element: str) -> float:
    if element == "O" or element == host.chalcogen:
        return host.separation_angstrom / 2
    return columns.CHALCOGEN_SEPARATION_ANGSTROM.get(element, 0.0) / 2


def frozen_phonons(cell: Supercell, grid: Grid, rng: np.random.Generator) -> tuple[Atom, ...]:
    """One thermal configuration: independent atoms (Einstein), displaced by whole pixels.

    A Gaussian rounded to whole pixels has its variance plus 1/12 pixel², which is taken off before rounding, so that
    the mean square displacement is that of `columns.thermal_rms_angstrom`. Displacements along the beam do not
    matter to a projected potential of one slice a plane.
    """
    pixels = grid.pixel_angstrom(cell.host)
    moved = []
    for atom in atoms_at_rest(cell, grid):
        rms = columns.thermal_rms_angstrom(atom.element)
        right, up = (round(rng.normal(0, math.sqrt(max((rms / p) ** 2 - 1 / 12, 0)))) for p in pixels)
        moved.append(replace(atom, x_px=atom.x_px + right, y_px=atom.y_px + up))
    return tuple(moved)
