"""Optics that a scene with missing values may have had.

Energies, convergence angles and rings of the detector are put on a grid of what the library holds. The frame itself
says one thing about them, its ratio X2/M: each point of the grid counts by how well it explains that.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import LibraryError
from stemctx_core.scene import Missing, Scene, host_columns
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import TYPICAL_SIGMA_ANGSTROM, Optics
from stemctx_core.simulation.render import response_tables

_CONVERGENCES_MRAD: Final = (25.0, 30.0, 35.0)
_INNER_MRAD: Final = (40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
_WIDTHS_MRAD: Final = (50.0, 70.0, 100.0, 130.0)
#: Relative error of a simulated ratio: thermal motion alone makes this much.
_RATIO_SD: Final = 0.03
#: Points that the grid is thinned to, all of one weight.
POINTS: Final = 6


@lru_cache(maxsize=4096)
def host_ratio(library: ResponseLibrary, host: Host, optics: Optics) -> float:
    """Simulated peak of the host's chalcogen column over that of its metal."""
    metal, chalcogen = response_tables(library, host_columns(host), optics)[:, 0]
    return float(chalcogen / metal)


@lru_cache(maxsize=512)
def _grid(
    library: ResponseLibrary, known: tuple[float, float, float, float], missing: frozenset[Missing]
) -> tuple[Optics, ...]:
    kv, convergence, inner, outer = known
    energies = library.high_tensions_kv if Missing.HIGH_TENSION in missing else (kv,)
    convergences = _CONVERGENCES_MRAD if Missing.CONVERGENCE in missing else (convergence,)
    rings = (
        tuple((i, i + w) for i, w in itertools.product(_INNER_MRAD, _WIDTHS_MRAD))
        if Missing.DETECTOR in missing
        else ((inner, outer),)
    )
    held = []
    for energy, angle, ring in itertools.product(energies, convergences, rings):
        try:
            library.check(energy, angle, *ring)
        except LibraryError:
            continue
        held.append(Optics(energy, angle, *ring, TYPICAL_SIGMA_ANGSTROM))
    return tuple(held)


def plausible_optics(library: ResponseLibrary, scene: Scene) -> list[tuple[Optics, float]]:
    """Optics of equal weight that explain the scene's X2/M, each with the ratio factor that is left.

    Raises
    ------
    LibraryError
        Where the library holds none that agrees with what is known.
    """
    o = scene.optics
    known = (o.high_tension_kv, o.convergence_semi_angle_mrad, o.inner_mrad, o.outer_mrad)
    grid = _grid(library, known, scene.missing)
    if not grid:
        raise LibraryError(
            "The library holds no optics that agree with what is known of the scene. Check the energy and the angles."
        )
    seen = scene.ratio * host_ratio(library, scene.host, replace(o, sigma_angstrom=TYPICAL_SIGMA_ANGSTROM))
    expected = np.array([host_ratio(library, scene.host, g) for g in grid])
    away = np.log(seen / expected)
    if Missing.RATIO in scene.missing:
        away = np.zeros(len(grid))
    spread = np.hypot(_RATIO_SD, scene.nuisance.ratio)
    weight = np.exp(-0.5 * ((away - away[np.argmin(abs(away))]) / spread) ** 2)
    share = np.cumsum(weight) / weight.sum()
    chosen = np.searchsorted(share, (np.arange(POINTS) + 0.5) / POINTS)
    return [
        (replace(grid[k], sigma_angstrom=o.sigma_angstrom), float(np.exp(away[k]))) for k in np.unique(chosen)
    ]
