"""The ratio of a host's columns, chalcogen pair over metal, in a frame: peaks of columns fitted jointly over a background.

Every site of the lattice gets an amplitude by least squares, with the simulated shape of its column as template and a
background that is linear between knots. Frames measured and simulated go through the same lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from stemctx_core.chemistry.materials import Host
from stemctx_core.kernels.robust import robust_sd
from stemctx_core.lattice import SiteGrid
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.render import REACH_ANGSTROM, SQUARED_STEP, response_tables

_KNOTS_ANGSTROM: Final = 12.0
_LEAST_COHERENCE: Final = 0.6
_BORDER_ANGSTROM: Final = 5.0


@dataclass(frozen=True)
class HostRatio:
    """Ratio of the host's columns in a frame.

    Attributes
    ----------
    peak
        Median amplitude of the chalcogen sites over the metals', both as peaks of isolated columns.
    error
        Standard error of it by the spread of the amplitudes.
    misfit
        Standard deviation of what the fit leaves over that of the frame.
    sites
        How many sites were counted.
    """

    peak: float
    error: float
    misfit: float
    sites: int


def fitted_ratio(
    image: NDArray[Any], grid: SiteGrid, library: ResponseLibrary, host: Host, optics: Optics
) -> HostRatio:
    """Measure the ratio in a frame.

    Parameters
    ----------
    image
        (height, width) intensities in any unit.
    grid
        Its sites; those where the lattice is not seen are fitted but not counted.
    optics
        Give the shape of the templates, not their height.
    """
    px = grid.pixel_size_angstrom
    tables = response_tables(library, (host.metal, f"{host.chalcogen}+{host.chalcogen}"), optics)
    columns = _templates(image.shape, grid, tables / tables[:, :1])
    background = _background(image.shape, px)
    design = sparse.hstack([columns, background], format="csc")
    values = np.asarray(image, np.float64).ravel()
    values = (values - values.mean()) / values.std()
    normal = (design.T @ design).tocsc()
    # Knots over nothing but sites far from them are all but free: a ridge of a millionth holds them.
    ridge = sparse.identity(normal.shape[0], format="csc") * (1e-6 * normal.diagonal().mean())
    solved = spsolve(normal + ridge, design.T @ values)
    amplitude = solved[: len(grid)]
    residual = values - design @ solved
    border = _BORDER_ANGSTROM / px
    last = np.array(image.shape) - 1
    inside = np.all((grid.positions_px > border) & (grid.positions_px < last - border), axis=1)
    counted = inside & (grid.coherence > _LEAST_COHERENCE)
    metal, pair = (amplitude[counted & (grid.sublattice == s)] for s in (0, 1))
    ratio = float(np.median(pair) / np.median(metal))
    relative = np.hypot(*(1.2533 * robust_sd(a) / np.median(a) / np.sqrt(len(a)) for a in (metal, pair)))
    return HostRatio(ratio, float(ratio * relative), float(residual.std()), int(counted.sum()))


def _templates(shape: tuple[int, ...], grid: SiteGrid, tables: NDArray[np.float32]) -> sparse.csc_matrix:
    """(pixels, sites) unit-peak columns."""
    px, (height, width) = grid.pixel_size_angstrom, shape
    reach = int(REACH_ANGSTROM / px) + 1
    dy, dx = np.meshgrid(*(np.arange(-reach, reach + 1),) * 2, indexing="ij")
    near = np.hypot(dy, dx) <= reach
    whole = np.round(grid.positions_px).astype(np.int64)
    y, x = whole[:, :1] + dy[near], whole[:, 1:] + dx[near]
    squared = ((y - grid.positions_px[:, :1]) ** 2 + (x - grid.positions_px[:, 1:]) ** 2) * px**2
    place = np.minimum(squared, REACH_ANGSTROM**2 - 1e-6) / SQUARED_STEP
    cell = place.astype(np.int64)
    own = tables[grid.sublattice]
    value = np.take_along_axis(own, cell, 1) * (1 - (place - cell))
    value += np.take_along_axis(own, cell + 1, 1) * (place - cell)
    kept = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (squared < REACH_ANGSTROM**2)
    site = np.broadcast_to(np.arange(len(grid))[:, None], kept.shape)
    return sparse.csc_matrix(
        (value[kept], (y[kept] * width + x[kept], site[kept])), shape=(height * width, len(grid))
    )


def _background(shape: tuple[int, ...], px: float) -> sparse.csc_matrix:
    """(pixels, knots) hats of bilinear interpolation."""
    one = []
    for n in shape:
        knots = max(2, round(n * px / _KNOTS_ANGSTROM) + 1)
        where = np.linspace(0, knots - 1 - 1e-9, n)
        cell = where.astype(np.int64)
        rows = np.arange(n)
        one.append(
            sparse.csc_matrix((1 - (where - cell), (rows, cell)), shape=(n, knots))
            + sparse.csc_matrix((where - cell, (rows, cell + 1)), shape=(n, knots))
        )
    return sparse.kron(one[0], one[1], format="csc")
