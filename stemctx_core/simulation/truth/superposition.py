"""Sums of column responses at given probe positions: what the fast tiers say where the reference was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core.chemistry import columns, elements
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.radial import PROFILE_RADII_ANGSTROM
from stemctx_core.simulation.truth.delta import HostResponses
from stemctx_core.simulation.truth.supercells import Atom, Grid, Supercell

#: Columns farther than this from the probe are left out (Å); the periodic cell holds no more.
REACH_ANGSTROM: Final = float(PROFILE_RADII_ANGSTROM[-1])

#: What the direction of a pair's displacement changes ends here (Å).
_TURNING_REACH_ANGSTROM: Final = 3.0
_DIRECTIONS: Final = 8

Detector = tuple[float, float]


def thermal_sum(
    library: ResponseLibrary, cell: Supercell, kv: float, detector: Detector, positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Superposition of thermally averaged columns, without a source, at (..., 2) positions (Å).

    Corrected columns of a host are taken as they are where they stand.
    """
    places = cell.places_angstrom
    optics = Optics(kv, library.convergence_semi_angle_mrad, *detector, 0.0)
    total = np.zeros(positions.shape[:-1])
    for index, site in enumerate(cell.sites):
        if isinstance(library, HostResponses):
            profile = library.standing(site.sublattice, site.column, optics)
        else:
            profile = library.response(site.column, optics)
        total += _at(profile, _distances(cell, positions, places[index]))
    return total


def frozen_sum(
    library: ResponseLibrary,
    cell: Supercell,
    atoms: Sequence[Atom],
    grid: Grid,
    kv: float,
    detector: Detector,
    positions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Superposition of columns whose atoms stand where one thermal configuration has them: a control variate.

    A pair counts by the distance of its two atoms, from the mean over directions that the library holds, at its
    displaced middle; and by how two atoms apart in just that direction differ from their mean over directions. The
    latter averages to nothing, so that the mean over configurations is `thermal_sum`.
    """
    pixel = np.array(grid.pixel_angstrom(cell.host))
    at_rest = {
        key: _AtRest(library, key, kv, detector) for key in {s.column for s in cell.sites} - {columns.VACANT}
    }
    total = np.zeros(positions.shape[:-1])
    for index, site in enumerate(cell.sites):
        if site.column == columns.VACANT:
            continue
        places = np.array([(a.x_px, a.y_px) for a in atoms if a.site == index]) * pixel
        own, middle = at_rest[site.column], places.mean(axis=0)
        apart = float(np.linalg.norm(places[0] - places[-1]))
        distances = _distances(cell, positions, middle)
        total += own.at(apart, distances)
        near = distances < _TURNING_REACH_ANGSTROM
        if apart and near.any():
            total[near] += _turning(own, cell, positions[near], middle, places[-1] - places[0])
    return total


def _turning(
    own: _AtRest,
    cell: Supercell,
    positions: NDArray[np.float64],
    middle: NDArray[np.float64],
    apart: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What the direction of a pair's displacement adds: two atoms, each like the pair at rest, less their mean."""

    def two_atoms(turned: NDArray[np.float64]) -> NDArray[np.float64]:
        first, second = (_distances(cell, positions, middle + side * turned / 2) for side in (-1, 1))
        both: NDArray[np.float64] = own.shares[0] * own.at(0.0, first) + own.shares[1] * own.at(0.0, second)
        return both

    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    turns = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) @ apart for t in angles]
    length = np.array([np.linalg.norm(apart)])
    size = own.at(float(length[0]), np.zeros(1)) / own.at(0.0, length / 2)
    turning: NDArray[np.float64] = size * (two_atoms(apart) - np.mean([two_atoms(t) for t in turns], axis=0))
    return turning


class _AtRest:
    """A column's response by distance of the probe, for atoms of a pair at any distance from each other.

    Attributes
    ----------
    shares
        Of each atom in what the column scatters, by Z^1.6; only a weight of the control variate.
    """

    def __init__(self, library: ResponseLibrary, column: str, kv: float, detector: Detector) -> None:
        self._radii, self._displacements, rings = library.rings_at_rest(column, kv)
        weights = library.ring_weights(*detector)[: rings.shape[-1]]
        used = weights > 0
        self._detected = rings[..., used] @ weights[used]
        self._splines: dict[float, CubicSpline] = {}
        strength = np.array([elements.atomic_number(e) ** 1.6 for e in columns.elements(column)])
        self.shares = strength / strength.sum()

    def at(self, apart: float, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        if apart not in self._splines:
            shares = [np.interp(apart, self._displacements, row) for row in np.eye(len(self._displacements))]
            profile = np.array(shares) @ self._detected
            self._splines[apart] = CubicSpline(self._radii, profile, bc_type=("clamped", "natural"))
        last = float(self._radii[-1])
        inside = np.clip(self._splines[apart](np.minimum(distances, last)), 0, None)
        tail = np.exp(-np.clip(distances - last, 0, None))
        values: NDArray[np.float64] = np.where(distances < REACH_ANGSTROM, inside * tail, 0.0)
        return values


def _distances(
    cell: Supercell, positions: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(cell.offset_angstrom(positions, place), axis=-1)
    return distances


def _at(profile: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    spline = CubicSpline(PROFILE_RADII_ANGSTROM, profile, bc_type=("clamped", "natural"))
    values: NDArray[np.float64] = np.where(
        distances < REACH_ANGSTROM, spline(np.minimum(distances, REACH_ANGSTROM)), 0.0
    )
    return values
