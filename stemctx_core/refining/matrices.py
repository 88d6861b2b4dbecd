"""The sparse matrices of `columns`: a template for each column, splines for the background, and their factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from stemctx_core.simulation.render import SQUARED_STEP

#: Templates end here, smoothly over the last part.
_REACH_ANGSTROM: Final = 3.6
_FADE_ANGSTROM: Final = 0.8
_KNOTS_ANGSTROM: Final = 12.0
#: Finer pixels are joined up to this: they take time and add nothing.
_COARSE_ANGSTROM: Final = 0.3
_AT_ONCE: Final = 4096
_RIDGE: Final = 1e-6


@dataclass(frozen=True)
class Columns:
    """Where columns stand and what each looks like.

    Attributes
    ----------
    positions_px
        (n, 2) y, x.
    kind
        (n,) row of `tables`.
    tables
        (kinds, table length) responses over r², of peak 1.
    pixel_size_angstrom
        Of the image they stand in.
    """

    positions_px: NDArray[np.float64]
    kind: NDArray[np.int8]
    tables: NDArray[np.float64]
    pixel_size_angstrom: float


def joined_pixels(
    image: NDArray[Any], positions_px: NDArray[np.float64], pixel_size_angstrom: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Image, positions and pixel size with fine pixels joined, none becoming coarser than `_COARSE_ANGSTROM`."""
    image = np.asarray(image, np.float64)
    factor = max(1, int(_COARSE_ANGSTROM / pixel_size_angstrom))
    if factor == 1:
        return image, positions_px, pixel_size_angstrom
    height, width = (n // factor * factor for n in image.shape)
    cells = image[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return cells.mean(axis=(1, 3)), (positions_px - (factor - 1) / 2) / factor, pixel_size_angstrom * factor


class Factor:
    """The normal equations of templates and background, factorised."""

    def __init__(self, design: Any, smooth: Any) -> None:
        self._design = sparse.hstack([design, smooth], format="csr")
        self._columns = design.shape[1]
        normal = (self._design.T @ self._design).tocsc()
        normal = normal + sparse.identity(normal.shape[0], format="csc") * _RIDGE * normal.diagonal().mean()
        options = {"SymmetricMode": True}
        self._factor = splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)

    def solve(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Amplitudes of the templates, and of the splines."""
        found = self._factor.solve(self._design.T @ values)
        return found[: self._columns], found[self._columns :]


def templates(shape: tuple[int, ...], columns: Columns, axis: int | None = None, fade: bool = True) -> Any:
    """(pixels, n) sparse templates.

    Parameters
    ----------
    axis
        What they change by per Å that their columns move along y (0) or x (1), instead of themselves.
    fade
        Whether they end smoothly.
    """
    height, width = shape
    pixel, positions = columns.pixel_size_angstrom, columns.positions_px
    half = int(_REACH_ANGSTROM / pixel) + 1
    steps = np.arange(-half, half + 1)
    near = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    near = near[np.linalg.norm(near, axis=1) <= _REACH_ANGSTROM / pixel + 0.7]
    pixels, owners, values = [], [], []
    for first in range(0, len(positions), _AT_ONCE):
        chosen = np.arange(first, min(first + _AT_ONCE, len(positions)))
        cells = np.rint(positions[chosen]).astype(int)[:, None] + near
        away = (cells - positions[chosen][:, None]) * pixel
        squared = (away**2).sum(axis=-1)
        inside = (cells >= 0).all(axis=-1) & (cells < (height, width)).all(axis=-1)
        inside &= squared < _REACH_ANGSTROM**2
        place = squared[inside] / SQUARED_STEP
        cell = place.astype(int)
        owner = np.broadcast_to(chosen[:, None], inside.shape)[inside]
        kind = columns.kind[owner]
        low, high = columns.tables[kind, cell], columns.tables[kind, cell + 1]
        if axis is None:
            value = low + (high - low) * (place - cell)
        else:
            value = (high - low) * (-2.0 / SQUARED_STEP) * away[inside][:, axis]
        if fade:
            edge = np.clip((_REACH_ANGSTROM - np.sqrt(squared[inside])) / _FADE_ANGSTROM, 0, 1)
            value = value * edge * edge * (3 - 2 * edge)
        pixels.append(cells[inside] @ (width, 1))
        owners.append(owner)
        values.append(value)
    entries = (np.concatenate(values), (np.concatenate(pixels), np.concatenate(owners)))
    return sparse.csr_matrix(entries, shape=(height * width, len(positions)))


def splines(shape: tuple[int, ...], pixel_size_angstrom: float) -> Any:
    """(pixels, knots) sparse uniform cubic B-splines on a grid of about `_KNOTS_ANGSTROM`."""
    axes = []
    for pixels in shape:
        knots = max(3, round(pixels * pixel_size_angstrom / _KNOTS_ANGSTROM)) + 3
        place = (np.arange(pixels) + 0.5) / pixels * (knots - 3)
        away = np.abs(place[:, None] - (np.arange(knots) - 1))
        inner, outer = 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6
        axes.append(sparse.csr_matrix(np.where(away < 1, inner, outer)))
    return sparse.kron(*axes, format="csr")
