"""Every column of a frame and a smooth background, solved at once by least squares.

The amplitude of a column that is read off its own neighbourhood holds what its neighbours add there, which depends on
whether an atom is missing in them. Solved together, each gets its own. Templates are the simulated responses, blurred
by the source that leaves least of the image unexplained; the background is a cubic spline on a wide grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stemctx_core.refining.matrices import Columns, Factor, splines, templates

#: Rounds of moving the columns and fitting the source; a third changes no amplitude by more than 0.01.
_ROUNDS: Final = 2
#: The source is looked for by a parabola through three sizes this far apart, and within these limits (Å).
_STEP_ANGSTROM: Final = 0.04
_SOURCE_ANGSTROM: Final = (0.20, 0.90)
#: Columns move with their neighbourhood, and half as far as their own pixels say, by no more than this.
_OWN_PART: Final = 0.5
_LARGEST_OWN_ANGSTROM: Final = 0.075
_LARGEST_MOVE_ANGSTROM: Final = 0.4
_NEIGHBOURS: Final = 13
#: Fainter columns are moved as if they were this bright, of the median.
_LEAST_AMPLITUDE: Final = 0.35
#: Radius about a column within which what is left unexplained counts as its own (Å).
_OWN_RADIUS_ANGSTROM: Final = 1.2


@dataclass(frozen=True)
class Solution:
    """What least squares found.

    Attributes
    ----------
    columns
        Where they stand now, with the templates they were solved with.
    sigma_angstrom
        Source of those templates.
    amplitude
        (n,) peak of each column.
    background
        (n,) at each column.
    rest
        (n,) root-mean-square of what is left unexplained about each column.
    """

    columns: Columns
    sigma_angstrom: float
    amplitude: NDArray[np.float64]
    background: NDArray[np.float64]
    rest: NDArray[np.float64]


def solve(
    image: NDArray[np.float64],
    columns: Columns,
    sigma_angstrom: float,
    blurred: Callable[[float], NDArray[np.float64]],
) -> Solution:
    """Amplitudes of all columns of an image on a smooth background.

    Parameters
    ----------
    columns
        Where the lattice puts them.
    sigma_angstrom
        Source to begin with.
    blurred
        (kinds, table length) tables for a source.
    """
    tried = _Trial(image, columns, splines(image.shape, columns.pixel_size_angstrom))
    sigma = sigma_angstrom
    for _ in range(_ROUNDS):
        moved = _moves(tried, columns)
        columns = replace(columns, positions_px=columns.positions_px + moved / columns.pixel_size_angstrom)
        each = []
        for size in (sigma - 2 * _STEP_ANGSTROM, sigma - _STEP_ANGSTROM, sigma):
            size = float(np.clip(size, *_SOURCE_ANGSTROM))
            each.append(_Trial(image, replace(columns, tables=blurred(size)), tried.smooth).unexplained)
        low, middle, high = each
        curvature = low - 2 * middle + high
        step = 0.5 * (low - high) / curvature if curvature > 0 else float(np.sign(low - high))
        sigma = sigma + _STEP_ANGSTROM * (float(np.clip(step, -2, 2)) - 1)
        sigma = float(np.clip(sigma, *_SOURCE_ANGSTROM))
        columns = replace(columns, tables=blurred(sigma))
        tried = _Trial(image, columns, tried.smooth)
    nearest = np.clip(np.rint(columns.positions_px).astype(int), 0, np.array(image.shape) - 1)
    background = tried.background[nearest[:, 0], nearest[:, 1]]
    return Solution(columns, sigma, tried.amplitude, background, _about(tried.rest, columns))


def taken_for(
    shape: tuple[int, int], columns: Columns, site: int, others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(m,) amplitudes that a site gets whose column looks otherwise than its template.

    Parameters
    ----------
    others
        (m, table length) responses in units of the template's peak.
    """
    factor = Factor(templates(shape, columns), splines(shape, columns.pixel_size_angstrom))
    found = []
    for other in others:
        alone = Columns(
            columns.positions_px[[site]], np.zeros(1, np.int8), other[None], columns.pixel_size_angstrom
        )
        amplitude, _ = factor.solve(templates(shape, alone, fade=False).toarray().ravel())
        found.append(float(amplitude[site]))
    return np.array(found)


class _Trial:
    """An image solved with columns where they stand."""

    def __init__(self, image: NDArray[np.float64], columns: Columns, smooth: object) -> None:
        self.smooth = smooth
        design = templates(image.shape, columns)
        self.amplitude, knots = Factor(design, smooth).solve(image.ravel())
        self.background: NDArray[np.float64] = (smooth @ knots).reshape(image.shape)  # type: ignore[operator]
        self.rest = image - (design @ self.amplitude).reshape(image.shape) - self.background
        self.unexplained = float(np.sum(self.rest**2))
        self.columns = columns


def _moves(tried: _Trial, columns: Columns) -> NDArray[np.float64]:
    """(n, 2) Å that columns are moved by: with their neighbourhood, and part of the way on their own."""
    amplitude, wanted = tried.amplitude, np.empty_like(columns.positions_px)
    bright = np.maximum(amplitude, _LEAST_AMPLITUDE * float(np.median(amplitude)))
    for axis in (0, 1):
        slope = templates(tried.rest.shape, columns, axis)
        steepness = np.asarray(slope.multiply(slope).sum(axis=0)).ravel()
        wanted[:, axis] = (
            (slope.T @ tried.rest.ravel()) * amplitude / (np.maximum(steepness, 1e-12) * bright**2)
        )
    wanted = np.clip(wanted, -_LARGEST_MOVE_ANGSTROM, _LARGEST_MOVE_ANGSTROM)
    _, near = cKDTree(columns.positions_px).query(columns.positions_px, k=min(_NEIGHBOURS, len(wanted)))
    together = np.median(wanted[near], axis=1)
    own = np.clip(_OWN_PART * (wanted - together), -_LARGEST_OWN_ANGSTROM, _LARGEST_OWN_ANGSTROM)
    return np.asarray(together + own)


def _about(rest: NDArray[np.float64], columns: Columns) -> NDArray[np.float64]:
    """(n,) root-mean-square of an image within `_OWN_RADIUS_ANGSTROM` of each column."""
    reach = int(np.ceil(_OWN_RADIUS_ANGSTROM / columns.pixel_size_angstrom))
    steps = np.arange(-reach, reach + 1)
    near = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    near = near[np.linalg.norm(near, axis=1) * columns.pixel_size_angstrom <= _OWN_RADIUS_ANGSTROM]
    cells = np.rint(columns.positions_px).astype(int)[:, None] + near
    cells = np.clip(cells, 0, np.array(rest.shape) - 1)
    about: NDArray[np.float64] = np.sqrt(np.mean(rest[cells[..., 0], cells[..., 1]] ** 2, axis=1))
    return about
