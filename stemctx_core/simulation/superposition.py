"""Sums of column responses at given probe positions: what the fast tiers say where the reference was taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core import elements
from stemctx_core.simulation import columns
from stemctx_core.simulation.library import PROFILE_RADII_ANGSTROM, ResponseLibrary
from stemctx_core.simulation.supercells import Atom, Grid, Supercell

#: Columns farther than this from the probe are left out (Å); the periodic cell holds no more.
REACH_ANGSTROM: Final = float(PROFILE_RADII_ANGSTROM[-1])

Detector = tuple[float, float]


class Profiles(Protocol):
    """Anything that gives a column's response on `PROFILE_RADII_ANGSTROM`, as `ResponseLibrary.profile` does."""

    def profile(
        self, column: str, high_tension_kv: float, inner_mrad: float, outer_mrad: float, sigma_angstrom: float
    ) -> NDArray[np.float64]:
        """See `ResponseLibrary.profile`."""


def thermal_sum(
    library: Profiles, cell: Supercell, kv: float, detector: Detector, positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Superposition of thermally averaged columns, without a source, at (..., 2) positions (Å)."""
    places = cell.places_angstrom
    total = np.zeros(positions.shape[:-1])
    for index, site in enumerate(cell.sites):
        profile = library.profile(site.column, kv, *detector, 0.0)
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

    A pair counts by the distance of its two atoms, from the mean over directions that the library holds. Put at its
    middle it would average to `thermal_sum`; where its atoms differ it is put nearer to the one that scatters more,
    which follows the reference much better, and averages to `thermal_sum` plus `off_centre_mean`.
    """
    pixel = np.array(grid.pixel_angstrom(cell.host))
    at_rest = {
        key: _AtRest(library, key, kv, detector) for key in {s.column for s in cell.sites} - {columns.VACANT}
    }
    total = np.zeros(positions.shape[:-1])
    for index, site in enumerate(cell.sites):
        places = [np.array([a.x_px, a.y_px]) * pixel for a in atoms if a.site == index]
        if places:
            shares = np.array(_brightness(site.column))
            apart = float(np.linalg.norm(places[0] - places[-1]))
            distances = _distances(cell, positions, shares @ np.array(places))
            total += at_rest[site.column].at(apart, distances)
    return total


def off_centre_mean(
    library: ResponseLibrary,
    cell: Supercell,
    kv: float,
    detector: Detector,
    positions: NDArray[np.float64],
    samples: int = 400,
) -> NDArray[np.float64]:
    """Mean of `frozen_sum` over configurations, less `thermal_sum`; from pairs of unlike atoms only."""
    rng = np.random.default_rng(0)
    total = np.zeros(positions.shape[:-1])
    for index, site in enumerate(cell.sites):
        shares = np.array(_brightness(site.column))
        if len(shares) < 2 or shares[0] == shares[1]:
            continue
        at_rest = _AtRest(library, site.column, kv, detector)
        rms = np.array([columns.thermal_rms_angstrom(e) for e in columns.elements(site.column)])
        moves = rng.normal(size=(samples, 2, 2)) * rms[:, None]
        # Every displacement with its opposite: what is odd in it averages to nothing.
        for move in np.concatenate([moves, -moves]):
            place, apart = cell.places_angstrom[index], float(np.linalg.norm(move[0] - move[1]))
            bright = at_rest.at(apart, _distances(cell, positions, place + shares @ move))
            middle = at_rest.at(apart, _distances(cell, positions, place + move.mean(axis=0)))
            total += (bright - middle) / (2 * samples)
    return total


def _brightness(column: str) -> tuple[float, ...]:
    """Share of each atom of a column in what it scatters, by Z^1.6; only a weight of the control variate."""
    strength = np.array([elements.atomic_number(e) ** 1.6 for e in columns.elements(column)])
    return tuple(float(s) for s in strength / strength.sum()) if len(strength) else ()


class _AtRest:
    """A column's response by distance of the probe, for atoms of a pair at any distance from each other."""

    def __init__(self, library: ResponseLibrary, column: str, kv: float, detector: Detector) -> None:
        weights = library.ring_weights(*detector)
        used = weights > 0
        radii, self._displacements, rings = library.rings_at_rest(column, kv)
        self._last = float(radii[-1])
        detected = rings[..., used] @ weights[used]
        self._splines = CubicSpline(radii, detected, axis=1, bc_type=("clamped", "natural"))

    def at(self, apart: float, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = np.array(
            [np.interp(apart, self._displacements, row) for row in np.eye(len(self._displacements))]
        )
        inside = np.tensordot(shares, self._splines(np.minimum(distances, self._last)), axes=1)
        tail = np.exp(-np.clip(distances - self._last, 0, None))
        values: NDArray[np.float64] = np.where(distances < REACH_ANGSTROM, np.clip(inside, 0, None) * tail, 0.0)
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
