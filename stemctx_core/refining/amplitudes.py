"""Amplitudes of a frame's columns in units of the host's, what each candidate's should be, and how they scatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.chemistry.classes import Candidate, Sublattice
from stemctx_core.chemistry.materials import Host
from stemctx_core.lattice import SiteGrid
from stemctx_core.refining.columns import solve, taken_for
from stemctx_core.refining.matrices import Columns, joined_pixels
from stemctx_core.scene import host_columns
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import response_tables

#: The local scale is the median of so many columns about a site.
_LOCAL: Final = 60
#: A background above the frame's by more than this part of the brighter column's signal is contamination, a scale
#: below this part of the frame's a hole.
_CONTAMINATION: Final = 0.25
_HOLE: Final = 0.5
#: A site is in a hole where so many of the sites nearest to it, itself among them, are fainter than this.
_NEAREST: Final = 13
_MISSING: Final = 4
_FAINT: Final = 0.45
#: What is left unexplained about a column, over the frame's median, above which it is like nothing listed.
_LARGEST_REST: Final = 2.5
#: A small crystal in which the amplitude of each candidate is measured as in the frame.
_CELLS: Final = 4
_SMALL_PIXEL_ANGSTROM: Final = 0.3


@dataclass(frozen=True)
class Amplitudes:
    """Columns of a frame as one detector saw them.

    Attributes
    ----------
    relative
        (n,) amplitude over the host's of the same sublattice near by; 1 for a host column.
    ratio
        X2/M.
    sigma_angstrom
        Source of the templates.
    spoiled
        (n,) whether there is contamination or a hole.
    unlike
        (n,) whether a column looks like nothing that a template can be.
    """

    relative: NDArray[np.float64]
    ratio: float
    sigma_angstrom: float
    spoiled: NDArray[np.bool_]
    unlike: NDArray[np.bool_]


def measure(
    image: NDArray[Any],
    grid: SiteGrid,
    library: ResponseLibrary,
    host: Host,
    optics: Optics,
) -> Amplitudes:
    """Amplitudes of all columns of a frame.

    Parameters
    ----------
    optics
        The source is where the search for the frame's begins.
    """
    names = host_columns(host)

    def blurred(sigma: float) -> NDArray[np.float64]:
        tables = response_tables(library, names, replace(optics, sigma_angstrom=round(sigma, 4)))
        return np.asarray(tables / tables[:, :1], np.float64)

    pixels, positions, pixel = joined_pixels(image, grid.positions_px, grid.pixel_size_angstrom)
    columns = Columns(positions, grid.sublattice, blurred(optics.sigma_angstrom), pixel)
    found = solve(pixels, columns, optics.sigma_angstrom, blurred)
    metal = grid.sublattice == 0
    seen = grid.coherence > _HOLE
    level = [float(np.median(found.amplitude[(grid.sublattice == code) & seen])) for code in (0, 1)]
    ratio = level[1] / level[0]
    scaled = found.amplitude / np.where(metal, 1.0, ratio)
    near = min(_LOCAL, len(scaled))
    local = np.median(scaled[cKDTree(positions).query(positions, k=near)[1]], axis=1)
    above = (found.background - np.median(found.background)) / max(level)
    relative = scaled / np.maximum(local, 1e-6 * level[0])
    _, nearest = cKDTree(positions).query(positions, k=min(_NEAREST, len(positions)))
    hole = (relative < _FAINT)[nearest].sum(axis=1) >= _MISSING
    return Amplitudes(
        relative=relative,
        ratio=ratio,
        sigma_angstrom=found.sigma_angstrom,
        spoiled=(above > _CONTAMINATION) | (local < _HOLE * level[0]) | hole,
        unlike=found.rest / np.maximum(local, 1e-9) > _LARGEST_REST * np.median(found.rest[seen]) / level[0],
    )


def expected(
    library: ResponseLibrary, host: Host, candidates: Sequence[Candidate], optics: Sequence[Optics]
) -> NDArray[np.float64]:
    """(optics, C) amplitude of each candidate over that of its sublattice's host column.

    Candidates look otherwise than the host's template that they are solved with; what they are taken for is found by
    solving a small crystal with each of them in it.
    """
    steps = np.arange(-_CELLS, _CELLS + 1)
    i, j = np.meshgrid(steps, steps, indexing="ij")
    lattice = np.stack([np.sqrt(3) / 2 * (i + j), 0.5 * (j - i)], axis=-1).reshape(-1, 2)
    places = (
        np.concatenate([lattice, lattice + (1 / np.sqrt(3), 0.0)]) * host.a_angstrom / _SMALL_PIXEL_ANGSTROM
    )
    margin = 3 * host.a_angstrom / _SMALL_PIXEL_ANGSTROM
    places = places - places.min(axis=0) + margin
    kind = np.repeat(np.array([0, 1], np.int8), len(lattice))
    height, width = (int(n) for n in np.ceil(places.max(axis=0) + margin))
    middle = len(lattice) // 2
    found = np.zeros((len(optics), len(candidates)))
    for row, each in enumerate(optics):
        own = response_tables(library, host_columns(host), each).astype(np.float64)
        columns = Columns(places, kind, own / own[:, :1], _SMALL_PIXEL_ANGSTROM)
        tables = response_tables(library, [c.column for c in candidates], each).astype(np.float64)
        for code, sublattice in enumerate(Sublattice):
            mine = [k for k, c in enumerate(candidates) if c.sublattice is sublattice]
            site = middle + code * len(lattice)
            found[row, mine] = taken_for((height, width), columns, site, tables[mine] / own[code, 0])
    return found
