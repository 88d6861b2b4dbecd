"""Evidence of a frame by the amplitudes of all its columns, in place of the network's.

For files, where seconds do not count. Beside the live path's evidence it stands by amplitudes alone: two candidates of
one column, such as a dopant with and without a vacancy beside it, are not told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext
from stemctx_core.encoding.knowledge import Knowledge
from stemctx_core.judging.decision import NO_LATTICE_HERE, OBSTACLES, TWIN, UNKNOWN
from stemctx_core.judging.evidence import SiteEvidence
from stemctx_core.judging.withheld import withheld_of
from stemctx_core.refining.amplitudes import Amplitudes, expected, measure
from stemctx_core.refining.likelihood import likelihood
from stemctx_core.refining.ridge import along_ridge
from stemctx_core.results import EDGE
from stemctx_core.simulation.library import ResponseLibrary


@dataclass(frozen=True)
class Seen:
    """A frame of one detector, and what the live path made of it."""

    image: NDArray[Any]
    context: ImagingContext
    known: Knowledge
    evidence: SiteEvidence


@dataclass(frozen=True)
class Refined:
    """Evidence by amplitudes, and what it rests on.

    Attributes
    ----------
    amplitudes
        Of each detector.
    means
        (detectors, C) amplitudes that the candidates should have.
    spread
        (detectors, 2) standard deviation of the host's metal and chalcogen columns.
    """

    evidence: SiteEvidence
    amplitudes: tuple[Amplitudes, ...]
    means: NDArray[np.float64]
    spread: NDArray[np.float64]


def refine(library: ResponseLibrary, seen: Sequence[Seen], merged: SiteEvidence) -> Refined:
    """Evidence of a scan that one detector saw, or several.

    Parameters
    ----------
    seen
        Each detector, all with the lattice of the first.
    merged
        Evidence of the live path from all of them, which keeps the scale.
    """
    first = seen[0]
    grid = first.evidence.grid
    if grid is None:
        return Refined(merged, (), np.zeros((0, 0)), np.zeros((0, 2)))
    host, candidates = materials.host(first.context.host), first.context.candidates
    amplitudes: list[Amplitudes] = []
    means: list[NDArray[np.float64]] = []
    words: list[str] = []
    for one in seen:
        calibration = one.evidence.scale.calibration
        begun = replace(one.known.optics, sigma_angstrom=calibration.sigma_angstrom)
        found = measure(one.image, grid, library, host, begun)
        optics, said = along_ridge(library, host, one.known, found.ratio, found.sigma_angstrom)
        amplitudes.append(found)
        means.append(expected(library, host, candidates, optics))
        words += said
    spoiled = np.any([a.spoiled for a in amplitudes], axis=0)
    obstacle = np.zeros(len(grid), np.int8)
    for one in seen:
        for name in (EDGE, NO_LATTICE_HERE, TWIN):
            obstacle[one.evidence.obstacle == OBSTACLES.index(name)] = OBSTACLES.index(name)
    obstacle[(obstacle == 0) & spoiled] = OBSTACLES.index(NO_LATTICE_HERE)
    unlike = np.any([a.unlike for a in amplitudes], axis=0)
    obstacle[(obstacle == 0) & unlike] = OBSTACLES.index(UNKNOWN)
    told = likelihood(
        np.stack([a.relative for a in amplitudes]), grid.sublattice, obstacle == 0, candidates, means
    )
    obstacle[(obstacle == 0) & told.unlike] = OBSTACLES.index(UNKNOWN)
    log_likelihood = np.where(obstacle[:, None] == 0, told.log_likelihood, 0.0).astype(np.float32)
    evidence = replace(
        merged,
        log_likelihood=log_likelihood,
        obstacle=obstacle,
        warnings=tuple(dict.fromkeys((*merged.warnings, *words))),
        withheld=withheld_of(candidates, told.separation),
    )
    return Refined(evidence, tuple(amplitudes), np.stack([m.mean(axis=0) for m in means]), told.spread)
