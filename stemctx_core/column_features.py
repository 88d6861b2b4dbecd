"""Features of single columns as matrices over the nodes of a radial response.

A patch is linear in the responses of its columns and the features are linear in the patch, so that everything a
prediction needs of a column (its features, how they change when it moves, what it adds to the counting noise) is a
fixed matrix for each lattice constant. The radial response is a cubic spline over a few nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemctx_core.classes import Sublattice
from stemctx_core.features import FEATURES, projection
from stemctx_core.neighbourhood import column_geometry, neighbourhood
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

_SPACING_ANGSTROM: Final = 0.1
#: Entries of a response table that serve as nodes; its steps are in r².
NODES: Final = np.unique(
    np.rint(np.arange(0, REACH_ANGSTROM + 1e-6, _SPACING_ANGSTROM) ** 2 / SQUARED_STEP).astype(int)
)


def _spline(at: NDArray[np.float64], derivative: int = 0) -> NDArray[np.float64]:
    """(at, nodes) matrix from node values to the response, or its derivative, at some radii."""
    radii = np.sqrt(NODES * SQUARED_STEP)
    flat = ((1, np.zeros(len(NODES))), (1, np.zeros(len(NODES))))
    values: NDArray[np.float64] = CubicSpline(radii, np.eye(len(NODES)), bc_type=flat)(at, derivative)
    return values


@lru_cache(maxsize=1)
def laplacian() -> NDArray[np.float64]:
    """(nodes, nodes) matrix from a radial response to its two-dimensional Laplacian at the nodes (1/Å²)."""
    radii = np.sqrt(NODES * SQUARED_STEP)
    second = _spline(radii, 2)
    first = _spline(radii, 1)
    result = second.copy()
    result[0] += second[0]
    result[1:] += first[1:] / radii[1:, None]
    return result


@dataclass(frozen=True)
class ColumnMaps:
    """Matrices of the columns around a site; N nodes, n columns, the site's own first.

    Attributes
    ----------
    value
        (N, n, FEATURES) features of a column.
    move
        (N, n, 2, FEATURES) their change per Å that it moves along u and v.
    together
        (2, N, FEATURES) features of all other metal columns, and of all other chalcogen columns.
    counting
        (3, N, FEATURES, FEATURES) covariance of the features for one electron per sample and unit response: own
        column, all other metal columns, all other chalcogen columns.
    """

    value: NDArray[np.float64]
    move: NDArray[np.float64]
    together: NDArray[np.float64]
    counting: NDArray[np.float64]


@lru_cache(maxsize=48)
def column_maps(centre: Sublattice, a_angstrom: float) -> ColumnMaps:
    """Matrices for a site of a sublattice and a lattice constant (Å)."""
    seen = np.flatnonzero(np.any(projection() != 0, axis=0))
    weights = projection()[:, seen]
    geometry, near = column_geometry(centre, a_angstrom), neighbourhood(centre)
    table = _spline(np.sqrt(np.arange(NODES[-1] + 1) * SQUARED_STEP))
    table = np.concatenate([table, table[-1:]])
    count = len(near.positions)
    value = np.zeros((len(NODES), count, FEATURES))
    move = np.zeros((len(NODES), count, 2, FEATURES))
    intensity = np.zeros((3, len(seen), len(NODES)))
    for j in range(count):
        cell, share = geometry.cell[j, seen], geometry.share[j, seen, None]
        reached = np.flatnonzero(cell < NODES[-1] - 1)
        if not len(reached):
            continue
        cell, share = cell[reached], share[reached]
        step = table[cell + 1] - table[cell]
        patch = table[cell] + step * share
        value[:, j] = patch.T @ weights[:, reached].T
        for axis in (0, 1):
            away = geometry.away[j, axis, seen[reached], None] * (-2.0 / SQUARED_STEP)
            move[:, j, axis] = (step * away).T @ weights[:, reached].T
        part = 0 if j == 0 else 1 if near.on_metal[j] else 2
        intensity[part, reached] += patch
    counting = (weights * np.moveaxis(intensity, 2, 1)[:, :, None, :]) @ weights.T
    other = np.arange(count) > 0
    together = np.stack(
        [value[:, other & near.on_metal].sum(axis=1), value[:, other & ~near.on_metal].sum(axis=1)]
    )
    return ColumnMaps(value, move, together, counting)
