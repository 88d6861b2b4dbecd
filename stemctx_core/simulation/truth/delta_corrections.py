"""What a column library lacks of the lattices that were simulated, as corrections to each column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core.chemistry import columns
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.multislice import RING_MRAD, wavelength_angstrom
from stemctx_core.simulation.truth.delta import FIRST_RING_MRAD, LAST_RADIUS_ANGSTROM
from stemctx_core.simulation.truth.delta_cells import (
    RADII_ANGSTROM,
    SHARES,
    DeltaPlan,
    around,
    central,
    grid_of,
    tilt_angstrom,
)
from stemctx_core.simulation.truth.supercells import (
    Grid,
    Supercell,
    host_column,
    perfect,
)
from stemctx_core.simulation.truth.superposition import REACH_ANGSTROM

_PENALTY: Final = 0.02


def host_corrections(
    plan: DeltaPlan, host: Host, kv: float, lattice: NDArray[np.float32], library: ResponseLibrary
) -> NDArray[np.float32]:
    """(keys, radii, rings) that a column library lacks of `lattice_rings`."""
    cell, grid = perfect(host), grid_of(plan, host, kv)
    shape = lattice.shape[-1]
    corrections = list(_shared_out(cell, grid, lattice[:2].astype(np.float64), library, kv))
    for row, (sublattice, column) in enumerate(plan.defects(host), start=2):
        whole = lattice[list(Sublattice).index(sublattice)]
        in_lattice = _mean_over_directions(lattice[row].astype(np.float64) - whole)
        own, native = (
            _Alone(library, key, kv, tilt_angstrom(key, host, grid), shape).at(np.array(RADII_ANGSTROM))
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


def _mean_over_directions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at `_around` to (radii, rings)."""
    rest = values[1:].reshape(len(RADII_ANGSTROM) - 1, len(SHARES), -1)
    return np.concatenate([values[:1], np.einsum("d,rdk->rk", np.array(SHARES), rest)])


def _shared_out(
    cell: Supercell, grid: Grid, lattice: NDArray[np.float64], library: ResponseLibrary, kv: float
) -> Iterator[NDArray[np.float64]]:
    """The perfect lattice less the sum of its columns, as one radial function for each of the two columns.

    Least squares over all positions, each function linear between `RADII_ANGSTROM` and zero from
    `LAST_RADIUS_ANGSTROM`; a small penalty on their size settles what the positions do not.
    """
    at = np.concatenate([around(cell, central(cell, s)) for s in Sublattice])
    target = lattice.reshape(len(at), -1).copy()
    nodes = np.append(RADII_ANGSTROM, LAST_RADIUS_ANGSTROM)
    hats = np.eye(len(nodes))[:-1]
    design = np.zeros((len(at), len(Sublattice), len(hats)))
    for which, sublattice in enumerate(Sublattice):
        column = host_column(cell.host, sublattice)
        alone = _Alone(library, column, kv, tilt_angstrom(column, cell.host, grid), target.shape[-1])
        for site, place in zip(cell.sites, cell.places_angstrom, strict=True):
            if site.sublattice is sublattice:
                distance = np.linalg.norm(cell.offset_angstrom(at, place), axis=1)
                target -= alone.at(distance)
                design[:, which] += np.stack([np.interp(distance, nodes, hat) for hat in hats], axis=1)
    flat = design.reshape(len(at), -1)
    solved = np.linalg.solve(flat.T @ flat + _PENALTY * np.eye(flat.shape[1]), flat.T @ target)
    shared = solved.reshape(len(Sublattice), len(hats), -1).astype(np.float64)
    yield from shared


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
