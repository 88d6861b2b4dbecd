"""The columns around a site of a 1H monolayer, in the frame of its patch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast.patches import sample_offsets
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

#: Columns this far away still reach into the patch (lattice constants).
_RADIUS: Final = 2.75


@dataclass(frozen=True)
class Neighbourhood:
    """Columns around a site; the first is the site itself.

    Attributes
    ----------
    positions
        (n, 2) u, v in lattice constants.
    on_metal
        (n,) whether the column stands on the metal sublattice.
    """

    positions: NDArray[np.float64]
    on_metal: NDArray[np.bool_]


@lru_cache(maxsize=2)
def neighbourhood(centre: Sublattice) -> Neighbourhood:
    """Columns around a metal or a chalcogen site, nearest first."""
    steps = np.arange(-4, 5)
    i, j = np.meshgrid(steps, steps, indexing="ij")
    lattice = np.stack([np.sqrt(3) / 2 * (i + j), 0.5 * (j - i)], axis=-1).reshape(-1, 2)
    bond = np.array([1 / np.sqrt(3), 0.0]) * (1 if centre is Sublattice.METAL else -1)
    positions = np.concatenate([lattice, lattice + bond])
    own = np.repeat([True, False], len(lattice))
    distance = np.linalg.norm(positions, axis=1)
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] < _RADIUS]
    on_metal = own[order] if centre is Sublattice.METAL else ~own[order]
    return Neighbourhood(positions[order], on_metal)


@dataclass(frozen=True)
class ColumnGeometry:
    """Where the samples of a patch lie as seen from each column, ready for table look-up.

    Attributes
    ----------
    away
        (n, 2, SAMPLES) from column to sample along u and v (Å).
    cell, share
        (n, SAMPLES) place in a response table: entry, and fraction of the way to the next.
    """

    away: NDArray[np.float32]
    cell: NDArray[np.int32]
    share: NDArray[np.float32]

    def patches(self, table: NDArray[np.float32], chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """(chosen, SAMPLES) patch of a single column with this response at each chosen position."""
        cell = self.cell[chosen]
        return table[cell] + (table[cell + 1] - table[cell]) * self.share[chosen]


@lru_cache(maxsize=32)
def column_geometry(centre: Sublattice, a_angstrom: float) -> ColumnGeometry:
    """Geometry of every column of `neighbourhood(centre)` for a lattice constant (Å)."""
    positions = neighbourhood(centre).positions
    away = (sample_offsets()[None] - positions[:, None]) * a_angstrom
    place = np.minimum(np.sum(away**2, axis=-1), REACH_ANGSTROM**2 - 1e-6) / SQUARED_STEP
    cell = place.astype(np.int32)
    return ColumnGeometry(
        np.ascontiguousarray(np.moveaxis(away, -1, 1), np.float32), cell, (place - cell).astype(np.float32)
    )
