"""The detector angles that a frame speaks of, where those that were declared do not give its X2/M."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from stemctx_core.encoding.plausible import host_ratio
from stemctx_core.errors import InputError, LibraryError
from stemctx_core.estimating.host_lattice import HostLattice
from stemctx_core.estimating.ridge import find_ridge
from stemctx_core.simulation.library import ResponseLibrary

#: Angles whose ratio is as near to the frame's as this (relative) are left alone.
_SAME_RATIO: Final = 0.01
_MAP_STEP_MRAD: Final = 5.0


def effective_angles(library: ResponseLibrary, lattice: HostLattice) -> tuple[float, float]:
    """The pair of angles that gives the frame's X2/M and differs least from what is declared.

    Raises
    ------
    InputError
        Where no angles that the library answers for give it.
    """
    known, wanted = lattice.optics, lattice.ratio

    def off(inner: float, outer: float) -> float:
        optics = replace(known, inner_mrad=inner, outer_mrad=outer)
        return abs(float(np.log(host_ratio(library, lattice.host, optics) / wanted)))

    if off(known.inner_mrad, known.outer_mrad) < _SAME_RATIO:
        return known.inner_mrad, known.outer_mrad
    near = find_ridge(library, lattice.host, known, wanted, 0.0).nearest(known.inner_mrad, known.outer_mrad)
    if near is None:
        raise InputError(
            f"No detector angles give X2/M = {wanted:.2f} for {lattice.host.name}. Check the host and the energy."
        )
    tried = {}
    for step in np.arange(-_MAP_STEP_MRAD, _MAP_STEP_MRAD + 0.1, 0.5):
        for angles in ((near[0] + step, near[1]), (near[0], near[1] + step)):
            try:
                tried[off(*angles)] = (float(angles[0]), float(angles[1]))
            except LibraryError:
                continue
    return tried[min(tried)]
