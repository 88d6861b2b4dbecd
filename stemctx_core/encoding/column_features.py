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

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.contrast.features import projection
from stemctx_core.contrast.neighbourhood import column_geometry, neighbourhood
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP

_SPACING_ANGSTROM: Final = 0.1
#: Columns farther than this do not move the features by thermal or static displacement (lattice constants).
NEAR: Final = 1.75
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
    """Matrices of the columns around a site; N nodes, K features, kind 0 metal and 1 chalcogen.

    Attributes
    ----------
    own, own_move
        (N, K) features of the site's own column, and (N, 2, K) their change per Å that it moves along u and v.
    near, near_move
        For each kind, (N, n, K) and (N, n, 2, K) of its n other columns within `NEAR` of the site, nearest first.
    all, all_move
        (2, N, K) and (2, N, 2, K) of all other columns of a kind together.
    counting
        (3, N, K, K) covariance of the features for one electron per sample and unit response: own column, all other
        metal columns, all other chalcogen columns.
    """

    own: NDArray[np.float64]
    own_move: NDArray[np.float64]
    near: tuple[NDArray[np.float64], NDArray[np.float64]]
    near_move: tuple[NDArray[np.float64], NDArray[np.float64]]
    all: NDArray[np.float64]
    all_move: NDArray[np.float64]
    counting: NDArray[np.float64]


@lru_cache(maxsize=48)
def column_maps(centre: Sublattice, a_angstrom: float) -> ColumnMaps:
    """Matrices for a site of a sublattice and a lattice constant (Å)."""
    seen = np.flatnonzero(np.any(projection() != 0, axis=0))
    weights = projection()[:, seen].T
    around = neighbourhood(centre)
    distance = np.linalg.norm(around.positions, axis=1)
    close: tuple[list[_Column], list[_Column]] = ([], [])
    together = [_Column.empty(len(seen)) for _ in range(3)]
    for j in range(len(around.positions)):
        column = _Column.at(centre, a_angstrom, j, seen)
        kind = 0 if around.on_metal[j] else 1
        together[0 if j == 0 else 1 + kind].add(column)
        if j > 0 and distance[j] < NEAR:
            close[kind].append(column)
    counting = [(t.patch.T[:, None, :] * weights.T) @ weights for t in together]
    return ColumnMaps(
        own=together[0].features(weights),
        own_move=together[0].moves(weights),
        near=(
            _stacked([c.features(weights) for c in close[0]]),
            _stacked([c.features(weights) for c in close[1]]),
        ),
        near_move=(
            _stacked([c.moves(weights) for c in close[0]]),
            _stacked([c.moves(weights) for c in close[1]]),
        ),
        all=np.stack([t.features(weights) for t in together[1:]]),
        all_move=np.stack([t.moves(weights) for t in together[1:]]),
        counting=np.stack(counting),
    )


@dataclass
class _Column:
    """What a column adds to the samples for each node, (samples, N), and per Å along u and v, (2, samples, N)."""

    patch: NDArray[np.float64]
    gradient: NDArray[np.float64]

    @classmethod
    def empty(cls, samples: int) -> _Column:
        return cls(np.zeros((samples, len(NODES))), np.zeros((2, samples, len(NODES))))

    @classmethod
    def at(cls, centre: Sublattice, a_angstrom: float, j: int, seen: NDArray[np.intp]) -> _Column:
        geometry, table = column_geometry(centre, a_angstrom), _table()
        cell, share = geometry.cell[j, seen], geometry.share[j, seen, None]
        reached = cell < NODES[-1] - 1
        step = np.where(reached[:, None], table[cell + 1] - table[cell], 0.0)
        away = geometry.away[j][:, seen, None] * (-2.0 / SQUARED_STEP)
        return cls(np.where(reached[:, None], table[cell] + step * share, 0.0), away * step)

    def add(self, other: _Column) -> None:
        self.patch += other.patch
        self.gradient += other.gradient

    def features(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.patch.T @ weights

    def moves(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.moveaxis(np.swapaxes(self.gradient, 1, 2) @ weights, 0, 1)


@lru_cache(maxsize=1)
def _table() -> NDArray[np.float64]:
    """(entries, nodes) matrix from node values to the entries of a response table, and one entry more."""
    table = _spline(np.sqrt(np.arange(NODES[-1] + 1) * SQUARED_STEP))
    return np.concatenate([table, table[-1:]])


def _stacked(columns: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.stack(columns, axis=1))
