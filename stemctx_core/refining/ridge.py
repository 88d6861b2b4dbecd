"""Detectors that a frame may have been seen with, by its own X2/M.

Many files name no angles, or wrong ones. Inner and outer angle cannot be found from a frame, since many pairs give the
same X2/M: they lie along a ridge. What a vacancy looks like is nearly the same all along it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from stemctx_core.calibration.calibrate import FITTING_RATIO
from stemctx_core.chemistry.materials import Host
from stemctx_core.encoding.knowledge import Knowledge
from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.errors import LibraryError
from stemctx_core.scene import Missing
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import response_tables

_INNER_MRAD: Final = tuple(np.arange(35.0, 111.0, 5.0))
_WIDTHS_MRAD: Final = (25.0, 35.0, 50.0, 70.0, 100.0, 130.0, 160.0)
#: Relative error of X2/M, simulated and measured: thermal motion and the source make this much.
_RATIO_SD: Final = 0.05
#: Points of equal weight that the ridge is thinned to.
_POINTS: Final = 6


def along_ridge(
    library: ResponseLibrary, host: Host, known: Knowledge, ratio: float, sigma_angstrom: float
) -> tuple[tuple[Optics, ...], tuple[str, ...]]:
    """Optics of equal weight that agree with what is known and with the frame's X2/M, and what is to be said of it.

    The declared optics alone where all are known and fit the ratio.

    Parameters
    ----------
    ratio
        X2/M as measured.
    sigma_angstrom
        Source of the frame.
    """
    declared = replace(known.optics, sigma_angstrom=sigma_angstrom)
    expected = host_ratio(library, host, declared)
    if not known.missing and FITTING_RATIO[0] < ratio / expected < FITTING_RATIO[1]:
        return (declared,), ()
    probes = {(o.high_tension_kv, o.convergence_semi_angle_mrad) for o in known.plausible}
    if known.missing and Missing.DETECTOR not in known.missing:
        grid = tuple(replace(o, sigma_angstrom=sigma_angstrom) for o in known.plausible)
    else:
        grid = tuple(itertools.chain(*(_rings(library, *probe, sigma_angstrom) for probe in sorted(probes))))
    thinned = _thinned(library, host, grid, ratio)
    if not thinned:
        return (declared,), ()
    words = f"X2/M is {ratio:.2f}; averaged over {_span(thinned)}, which give it."
    if not known.missing:
        words = f"The declared angles would give an X2/M of {expected:.2f}. {words}"
    return thinned, (words,)


@lru_cache(maxsize=16)
def _rings(
    library: ResponseLibrary, high_tension_kv: float, convergence_mrad: float, sigma_angstrom: float
) -> tuple[Optics, ...]:
    held = []
    for inner, width in itertools.product(_INNER_MRAD, _WIDTHS_MRAD):
        optics = Optics(high_tension_kv, convergence_mrad, float(inner), float(inner + width), sigma_angstrom)
        try:
            library.check(optics)
        except LibraryError:
            continue
        held.append(optics)
    return tuple(held)


def _thinned(library: ResponseLibrary, host: Host, grid: Sequence[Optics], ratio: float) -> tuple[Optics, ...]:
    """Points of equal weight in the order of what a single chalcogen looks like."""
    if not grid:
        return ()
    away = np.array([np.log(ratio / host_ratio(library, host, o)) for o in grid])
    # Where none fits, the nearest ones count: the host check has the word on that.
    weight = np.exp(-0.5 * ((np.abs(away) - np.abs(away).min()) / _RATIO_SD) ** 2)
    pair = f"{host.chalcogen}+{host.chalcogen}"
    kept = np.flatnonzero(weight > 0.01)
    single = np.array(
        [np.divide(*response_tables(library, (host.chalcogen, pair), grid[int(k)])[:, 0]) for k in kept]
    )
    order = kept[np.argsort(single, kind="stable")]
    share = np.cumsum(weight[order]) / weight[order].sum()
    chosen = np.unique(np.searchsorted(share, (np.arange(_POINTS) + 0.5) / _POINTS))
    return tuple(grid[int(order[k])] for k in chosen)


def _span(optics: Sequence[Optics]) -> str:
    inner, outer = ([getattr(o, name) for o in optics] for name in ("inner_mrad", "outer_mrad"))
    return f"inner angles of {min(inner):g}-{max(inner):g} and outer ones of {min(outer):g}-{max(outer):g} mrad"
