"""Responses of the columns that a scene may hold, averaged over the optics that its missing values may have had."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.encoding.column_features import NODES, laplacian
from stemctx_core.encoding.plausible import plausible_optics
from stemctx_core.scene import MISSING_OPTICS, Scene, host_rows
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.render import response_tables


def scene_tables(library: ResponseLibrary, scene: Scene, extra: tuple[str, ...] = ()) -> NDArray[np.float32]:
    """Response tables of the candidates, the chalcogen sublattice scaled by the scene's ratio.

    Parameters
    ----------
    extra
        Further columns of the chalcogen sublattice.

    Returns
    -------
    numpy.ndarray
        (C + extra, table length), fractions of the beam.
    """
    tables = response_tables(library, [*(c.column for c in scene.candidates), *extra], scene.optics)
    factors = [scene.ratio if c.sublattice is Sublattice.CHALCOGEN else 1.0 for c in scene.candidates]
    factors += [scene.ratio] * len(extra)
    return tables * np.array(factors, np.float32)[:, None]


@dataclass(frozen=True)
class SceneColumns:
    """Responses of the candidates, and last of a lone chalcogen of the host, at the nodes, in units of the reference.

    Attributes
    ----------
    mean, curved
        (C + 1, N) averaged over the plausible optics, and its Laplacian.
    differing
        (optics, C + 1, N) of each optics from that.
    """

    mean: NDArray[np.float64]
    curved: NDArray[np.float64]
    differing: NDArray[np.float64]
    reference: float
    expected_ratio: float
    ratio: float


def scene_columns(library: ResponseLibrary, scene: Scene) -> SceneColumns:
    """Means over the scene's own optics, or over those that are plausible where some are missing."""
    metal, chalcogen = host_rows(scene.candidates)
    optics = [(scene.optics, scene.ratio)]
    if scene.missing & MISSING_OPTICS:
        optics = plausible_optics(library, scene)
    each, references, ratios = [], [], []
    for plausible, ratio in optics:
        tables = scene_tables(
            library, replace(scene, optics=plausible, ratio=ratio), extra=(scene.host.chalcogen,)
        )
        nodes = tables[:, NODES].astype(np.float64)
        references.append(float(max(nodes[metal, 0], nodes[chalcogen, 0])))
        ratios.append(float(nodes[chalcogen, 0] / nodes[metal, 0]) / ratio)
        each.append(nodes / references[-1])
    mean = np.mean(each, axis=0)
    curved = mean @ laplacian().T
    left = float(np.exp(np.mean(np.log([ratio for _, ratio in optics]))))
    return SceneColumns(
        mean, curved, np.array(each) - mean, float(np.mean(references)), float(np.mean(ratios)), left
    )


def scene_reference(library: ResponseLibrary, scene: Scene) -> float:
    """Peak of the brighter host column for the scene's own optics."""
    return float(scene_tables(library, scene)[list(host_rows(scene.candidates)), 0].max())
