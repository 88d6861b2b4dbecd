"""Mirror twins: grains on one lattice whose sublattices stand the other way round.

Across such a boundary the lattice goes on, bent a little, and every site of it is found; but beyond it metal stands
where chalcogen did. What is left to see is which sublattice is the brighter one, averaged over a few cells.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label
from scipy.spatial import cKDTree

from stemctx_core.chemistry import materials
from stemctx_core.contrast.mean_patches import OWN_COLUMN
from stemctx_core.judging.decision import OBSTACLES, TWIN
from stemctx_core.judging.view import View
from stemctx_core.kernels.compiled import compiled
from stemctx_core.kernels.robust import medians

#: Which sublattice is the brighter one is averaged over squares of so many lattice constants.
_SQUARE: Final = 4.0
_FEWEST: Final = 8
#: Squares that touch each other and say the other way round by the first number of standard errors each are a grain
#: where they say so together by the second, and by this part of what the rest of the frame shows.
_EACH: Final = 1.0
_TOGETHER: Final = 4.5
_LEAST_PART: Final = 0.4
#: In standard errors of a square, by how much the sublattices must differ for any of this to be seen.
_LEAST_DIFFERENCE: Final = 1.5
#: In a frame with such a grain, what a site belongs to is seen from so many sites around it; those nearer to the other
#: grain than this are of neither (lattice constants).
_AROUND: Final = 48
_BOUNDARY: Final = 2.5


def without_twins(view: View, measured: NDArray[np.float32]) -> tuple[View, NDArray[np.float32]]:
    """A view and the features of its sites without those of mirror twins, which are judged as neither grain."""
    judged = np.flatnonzero(view.obstacle == 0)
    positions = view.sites.positions_px[judged]
    spacing = materials.host(view.context.host).a_angstrom / view.sites.pixel_size_angstrom
    twin = twin_sites(measured[:, OWN_COLUMN], view.sites.sublattice[judged], positions, spacing)
    if not twin.any():
        return view, measured
    obstacle = view.obstacle.copy()
    obstacle[judged[twin]] = OBSTACLES.index(TWIN)
    words = (
        f"Two lattices, mirror twins of each other: {twin.mean():.0%} of the sites are in the smaller grain or on the "
        "boundary, and are not judged."
    )
    told = replace(view, discs=view.discs[~twin], obstacle=obstacle, warnings=(*view.warnings, words))
    return told, measured[~twin]


def twin_sites(
    level: NDArray[np.floating[Any]],
    sublattice: NDArray[np.int8],
    positions_px: NDArray[np.float64],
    lattice_constant_px: float,
) -> NDArray[np.bool_]:
    """(n,) sites of the smaller grains, whose sublattices are the other way round, and of the boundary.

    Parameters
    ----------
    level
        (n,) intensity of each site's own column.
    sublattice
        (n,) 0 metal, 1 chalcogen, as the larger part of the frame has it.
    """
    none = np.zeros(len(level), np.bool_)
    if len(level) < 4 * _FEWEST:
        return none
    square = np.floor(positions_px / (_SQUARE * lattice_constant_px)).astype(np.int64)
    square -= [square[:, 0].min(), square[:, 1].min()]
    difference, error = _of_squares(level, sublattice, square)
    known = np.isfinite(difference)
    if not known.any():
        return none
    sign = float(np.sign(medians(difference[known][None])[0]))
    certain = np.where(known, sign * difference / error, 0.0)
    if not (certain < -_EACH).any():
        return none
    grains, count = label(certain < -_EACH, structure=np.ones((3, 3)))
    rest = known & (grains == 0)
    usual = float(medians(sign * difference[rest][None])[0]) if rest.any() else 0.0
    if not usual > _LEAST_DIFFERENCE * float(medians(error[known][None])[0]):
        return none
    found = np.zeros(grains.shape, np.bool_)
    for grain in range(1, count + 1):
        inside = grains == grain
        together = float(certain[inside].sum() / np.sqrt(inside.sum()))
        if together < -_TOGETHER and -float(np.mean(sign * difference[inside])) > _LEAST_PART * usual:
            found |= inside
    if not found.any():
        return none
    reached = binary_dilation(found, structure=np.ones((3, 3)))[square[:, 0], square[:, 1]]
    other = reached & (sign * _around(level, sublattice, positions_px) < 0)
    if not other.any():
        return none
    distance, _ = cKDTree(positions_px[other]).query(positions_px)
    near: NDArray[np.bool_] = distance < _BOUNDARY * lattice_constant_px
    return near


def _of_squares(
    level: NDArray[np.floating[Any]], sublattice: NDArray[np.int8], square: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rows, columns) chalcogen less metal in every square, NaN where there are few of one, and its standard error."""
    shape = (int(square[:, 0].max()) + 1, int(square[:, 1].max()) + 1)
    count, total, squares = _added_up(np.asarray(level, np.float64), sublattice, square, *shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        error = np.sqrt(((squares / count - mean**2) / count).sum(axis=-1))
        difference = np.where(
            (count >= _FEWEST).all(axis=-1) & (error > 0), mean[..., 1] - mean[..., 0], np.nan
        )
    return difference, error


def _around(
    level: NDArray[np.floating[Any]], sublattice: NDArray[np.int8], positions_px: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) chalcogen less metal around each site."""
    each = []
    for code in (0, 1):
        mine = np.flatnonzero(sublattice == code)
        count = min(_AROUND // 2, len(mine))
        _, near = cKDTree(positions_px[mine]).query(positions_px, k=count)
        each.append(np.median(level[mine][near.reshape(len(level), -1)], axis=1))
    difference: NDArray[np.float64] = each[1] - each[0]
    return difference


@compiled()
def _added_up(level, sublattice, square, rows, columns):  # type: ignore[no-untyped-def]  # numba infers types
    """Number, sum and sum of squares of the levels of each sublattice in every square: (3, rows, columns, 2)."""
    sums = np.zeros((3, rows, columns, 2))
    for n in range(len(level)):
        y, x, code = square[n, 0], square[n, 1], sublattice[n]
        sums[0, y, x, code] += 1.0
        sums[1, y, x, code] += level[n]
        sums[2, y, x, code] += level[n] ** 2
    return sums
