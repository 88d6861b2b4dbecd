"""An endless doped monolayer as a pure function of position.

Which column stands at a lattice site, and how far it is displaced, comes from a hash of the site's lattice index and
the seed. Nothing is stored, so that zooming, moving or rotating the scan shows the same defects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import classes, materials
from stemctx_core.chemistry.classes import Candidate, Role, Sublattice
from stemctx_core.chemistry.site_labels import SiteLabels
from stemctx_core.errors import InputError

#: More dopant than the benchmark's real prevalence, so that a field of 10 nm shows a score of them.
DEFAULT_PREVALENCE: Final = {**classes.REAL_PREVALENCE, Role.DOPANT: 0.02}

# What a hash is drawn for; each gives numbers that are independent of the others.
_SPECIES, _DISPLACEMENT_LENGTH, _DISPLACEMENT_ANGLE, _FIRST_ATOM, _SECOND_ATOM = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class ColumnField(SiteLabels):
    """Every lattice site of a region, vacant ones too.

    Attributes
    ----------
    positions_nm
        (n, 2) float64 y, x in the specimen, displacement included.
    column_index
        (n,) int64 row of `candidates` that stands there.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    lattice_index
        (n, 2) int64 cell.
    candidates
        What can stand at a site.
    """

    positions_nm: NDArray[np.float64]
    column_index: NDArray[np.int64]
    sublattice: NDArray[np.int8]
    lattice_index: NDArray[np.int64]
    candidates: tuple[Candidate, ...]

    def chosen(self, mask: NDArray[Any]) -> ColumnField:
        """Keep the sites that a mask or an index array picks."""
        return ColumnField(
            self.positions_nm[mask],
            self.column_index[mask],
            self.sublattice[mask],
            self.lattice_index[mask],
            self.candidates,
        )


class Specimen:
    """A doped monolayer without an edge.

    Parameters
    ----------
    host
        Formula of a known host.
    dopant
        Element on the metal site, or None.
    seed
        Another seed is another specimen.
    prevalence
        How often a role is met at a site of its sublattice; what is left out is as in `DEFAULT_PREVALENCE`.
    displacement_angstrom
        Static displacement of every site (Å, standard deviation per axis).
    orientation_rad
        Angle of the first lattice vector from the x axis towards y.

    Raises
    ------
    InputError
        For an unknown host or element, or prevalences that are not probabilities.
    """

    def __init__(
        self,
        host: str = "WSe2",
        dopant: str | None = "V",
        seed: int = 0,
        prevalence: Mapping[Role, float] | None = None,
        displacement_angstrom: float = 0.03,
        orientation_rad: float = 0.12,
    ) -> None:
        self.host = materials.host(host)
        self.dopant = dopant
        self.seed = seed
        self.displacement_angstrom = displacement_angstrom
        self.orientation_rad = orientation_rad
        self.candidates = classes.candidates(host, () if dopant is None else (dopant,))
        rates = {**DEFAULT_PREVALENCE, **(prevalence or {})}
        #: How often each role is met.
        self.prevalence: Mapping[Role, float] = rates
        shares = np.array(classes.priors(self.candidates, rates))
        if not ((shares >= 0).all() and (shares <= 1).all()):
            raise InputError(
                "The prevalences of the defects of a sublattice must lie between 0 and 1 and add up to no more than 1. "
                f"Got {', '.join(f'{role.value} {rate:g}' for role, rate in rates.items())}."
            )
        self._choices = [
            (indices := np.array([k for k, c in enumerate(self.candidates) if c.sublattice is s]), shares[indices].cumsum())
            for s in Sublattice
        ]  # fmt: skip
        place = {c.role: k for k, c in enumerate(self.candidates)}
        # Row of the candidate that is left when a column has lost no, one or two chalcogen atoms.
        self._left = np.repeat(np.arange(len(self.candidates))[:, None], 3, axis=1)
        pair, one, none = (
            place[r] for r in (Role.CHALCOGEN_PAIR, Role.CHALCOGEN_VACANCY, Role.CHALCOGEN_DIVACANCY)
        )
        self._left[pair], self._left[one] = (pair, one, none), (one, none, none)
        a = self.host.a_angstrom / 10
        first, second = orientation_rad, orientation_rad + math.pi / 3
        #: (2, 2) rows are the lattice vectors (nm), y, x.
        self.basis_nm: NDArray[np.float64] = a * np.array(
            [[math.sin(first), math.cos(first)], [math.sin(second), math.cos(second)]]
        )
        #: (2, 2) places of metal and chalcogen in the cell (nm), y, x.
        self.motif_nm: NDArray[np.float64] = np.stack([np.zeros(2), self.basis_nm.sum(axis=0) / 3])

    def columns_in(self, y0_nm: float, x0_nm: float, y1_nm: float, x1_nm: float) -> ColumnField:
        """Every site within a rectangle of the specimen, in an order that does not depend on the rectangle's corner."""
        corners = np.array([[y0_nm, x0_nm], [y0_nm, x1_nm], [y1_nm, x0_nm], [y1_nm, x1_nm]])
        in_cells = corners @ np.linalg.inv(self.basis_nm)
        low, high = (
            np.floor(in_cells.min(axis=0)).astype(int) - 2,
            np.ceil(in_cells.max(axis=0)).astype(int) + 2,
        )
        i, j = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
        cells = np.stack([i.ravel(), j.ravel()], axis=1)
        # Drop most cells of the slanted range before anything is hashed.
        margin = 2 * self.host.a_angstrom / 10
        origin = cells @ self.basis_nm
        near = ((origin > corners[0] - margin) & (origin < corners[3] + margin)).all(axis=1)
        cells, origin = cells[near], origin[near]
        parts = [self._sublattice(cells, origin, s) for s in range(2)]
        positions, column, sublattice, index = (np.concatenate(p) for p in zip(*parts, strict=True))
        inside = ((positions >= corners[0]) & (positions < corners[3])).all(axis=1)
        return ColumnField(positions, column, sublattice, index, self.candidates).chosen(inside)

    def atoms_lost(self, sites: ColumnField, expected: NDArray[np.floating[Any]]) -> NDArray[np.int8]:
        """(n,) atoms that chalcogen columns have lost where so many losses were expected of each of their atoms.

        Every atom has a number of its own from the exponential distribution with mean 1, and is gone where the
        expectation has reached it. Columns with oxygen and vacant ones lose nothing.
        """
        first, second = (
            -np.log1p(-self._uniform(sites.lattice_index, 1, purpose))
            for purpose in (_FIRST_ATOM, _SECOND_ATOM)
        )
        role = np.array([c.role for c in self.candidates])[sites.column_index]
        of_two = role == Role.CHALCOGEN_PAIR
        lost = (expected >= first).astype(np.int8) + (of_two & (expected >= second))
        lost[~of_two & (role != Role.CHALCOGEN_VACANCY)] = 0
        counted: NDArray[np.int8] = lost.astype(np.int8)
        return counted

    def without_atoms(self, column_index: NDArray[np.int64], lost: NDArray[np.int8]) -> NDArray[np.int64]:
        """(n,) rows of `candidates` that are left when columns have lost so many chalcogen atoms."""
        left: NDArray[np.int64] = self._left[column_index, lost]
        return left

    def _sublattice(
        self, cells: NDArray[np.int64], origin_nm: NDArray[np.float64], sublattice: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
        choices, cumulative = self._choices[sublattice]
        picked = np.searchsorted(cumulative, self._uniform(cells, sublattice, _SPECIES), side="right")
        # Rounding may leave the last cumulative share a hair below 1.
        column = choices[np.minimum(picked, len(choices) - 1)]
        # Box-Muller: a length and an angle make two independent normal numbers.
        uniform = self._uniform(cells, sublattice, _DISPLACEMENT_LENGTH)
        length = self.displacement_angstrom / 10 * np.sqrt(-2 * np.log1p(-uniform))
        angle = 2 * np.pi * self._uniform(cells, sublattice, _DISPLACEMENT_ANGLE)
        displacement = length[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        positions = origin_nm + self.motif_nm[sublattice] + displacement
        return positions, column, np.full(len(cells), sublattice, np.int8), cells

    def _uniform(self, cells: NDArray[np.int64], sublattice: int, purpose: int) -> NDArray[np.float64]:
        """(n,) numbers in [0, 1) that depend on cell, sublattice, purpose and seed alone."""
        state = np.full(len(cells), self.seed & 0xFFFFFFFFFFFFFFFF, np.uint64)
        for part in (cells[:, 0], cells[:, 1], np.full(len(cells), 8 * purpose + sublattice)):
            state = _splitmix64(state ^ part.astype(np.int64).view(np.uint64))
        return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood's mixer (OOPSLA 2014): every input bit reaches every output bit."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed
