"""What stands around a site, whatever stands at it: its features, and how each nuisance moves them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Role, Sublattice
from stemctx_core.contrast.features import FEATURES
from stemctx_core.encoding.column_features import ColumnMaps, column_maps
from stemctx_core.encoding.scene_columns import SceneColumns
from stemctx_core.scene import Scene, host_rows


@dataclass(frozen=True)
class Surroundings:
    """Everything but the site's own column, in units of the reference; covariances at unit nuisance.

    Attributes
    ----------
    beside
        (3, K) what changes where a chalcogen is missing in each of the nearest chalcogen columns.
    differing
        (optics, K) deviation for each of the plausible optics.
    """

    maps: ColumnMaps
    features: NDArray[np.float64]
    chalcogen: NDArray[np.float64]
    moves: NDArray[np.float64]
    curvature: NDArray[np.float64]
    jitter: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    defects: NDArray[np.float64]
    counting: NDArray[np.float64]
    beside: NDArray[np.float64]
    differing: NDArray[np.float64]


def surroundings(scene: Scene, columns: SceneColumns, centre: Sublattice) -> Surroundings:
    """What stands around a site of that sublattice."""
    rows = list(host_rows(scene.candidates))
    maps = column_maps(centre, scene.host.a_angstrom)
    host = columns.mean[rows]
    together = np.einsum("kn,knf->kf", host, maps.all)
    near = [np.tensordot(host[k], maps.near[k], 1) for k in (0, 1)]
    moves = np.concatenate([np.tensordot(host[k], maps.near_move[k], 1) for k in (0, 1)]).reshape(-1, FEATURES)
    change = [_typical_change(scene, columns.mean, row) for row in rows]
    features = np.concatenate(near)
    difference = np.concatenate([c * n for c, n in zip(change, near, strict=True)])
    missing_one = columns.mean[-1] - columns.mean[rows[1]]
    return Surroundings(
        maps=maps,
        features=together.sum(axis=0) + scene.nuisance.defects * difference.sum(axis=0),
        chalcogen=together[1],
        moves=np.tensordot(host, maps.all_move, 2),
        curvature=np.einsum("kn,knf->f", columns.curved[rows], maps.all),
        jitter=moves.T @ moves,
        amplitude=features.T @ features,
        defects=difference.T @ difference,
        counting=np.tensordot(host, maps.counting[1:], 2),
        beside=np.tensordot(missing_one, maps.near[1][:, :3], 1),
        differing=np.einsum("okn,knf->of", columns.differing[:, rows], maps.all),
    )


def _typical_change(scene: Scene, nodes: NDArray[np.float64], host_row: int) -> float:
    """Relative change of a neighbour's peak when it is the likeliest defect of its sublattice."""
    order = (Role.DOPANT, Role.CHALCOGEN_VACANCY, Role.METAL_VACANCY)
    sublattice = scene.candidates[host_row].sublattice
    others = [i for i, c in enumerate(scene.candidates) if c.sublattice is sublattice and c.role in order]
    if not others:
        return 0.0
    likeliest = min(others, key=lambda i: order.index(scene.candidates[i].role))
    return float(nodes[likeliest, 0] / nodes[host_row, 0] - 1.0)
