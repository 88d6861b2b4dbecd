"""Frames as a superposition of column responses: the fast tier, which training, tests and the simulated scan use.

Intensities are fractions of the beam; Poisson counting is a step of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from stemctx_core.kernels.compiled import compiled
from stemctx_core.simulation.library import ResponseLibrary
from stemctx_core.simulation.optics import Optics
from stemctx_core.simulation.radial import PROFILE_STEP_ANGSTROM

#: Responses are cut off smoothly here; what lies beyond is below 1 % of a host's peak.
REACH_ANGSTROM: Final = 5.0
_FADE_ANGSTROM: Final = 1.0
#: Tables are stepped in r², so that no square root is taken per pixel.
SQUARED_STEP: Final = 0.02
_TABLE_LENGTH: Final = int(REACH_ANGSTROM**2 / SQUARED_STEP) + 2
_TABLE_RADII: Final = np.sqrt(np.arange(_TABLE_LENGTH) * SQUARED_STEP)
_CELL: Final = (_TABLE_RADII / PROFILE_STEP_ANGSTROM).astype(np.intp)
_SHARE: Final = _TABLE_RADII / PROFILE_STEP_ANGSTROM - _CELL
_NEAR_END: Final = np.clip((REACH_ANGSTROM - _TABLE_RADII) / _FADE_ANGSTROM, 0, 1)
_FADE: Final = _NEAR_END * _NEAR_END * (3 - 2 * _NEAR_END)


def response_table(profile: NDArray[np.float64]) -> NDArray[np.float32]:
    """Profiles as tables over r² in steps of `SQUARED_STEP` (Å²), fading to zero at `REACH_ANGSTROM`.

    Parameters
    ----------
    profile
        (..., len(PROFILE_RADII_ANGSTROM)).
    """
    low = np.take(profile, _CELL, axis=-1)
    low += (np.take(profile, _CELL + 1, axis=-1) - low) * _SHARE
    low *= _FADE
    table: NDArray[np.float32] = low.astype(np.float32)
    return table


def response_tables(library: ResponseLibrary, columns: Sequence[str], optics: Optics) -> NDArray[np.float32]:
    """Tables of several columns, in the order given; of an astigmatic probe, the mean over all directions.

    Returns
    -------
    numpy.ndarray
        (columns, table length) float32, fractions of the beam.

    Raises
    ------
    LibraryError
        Where the library cannot answer for these optics or columns.
    """
    library.check(optics)
    return response_table(library.responses(columns, optics))


def astigmatic_tables(
    library: ResponseLibrary, columns: Sequence[str], optics: Optics
) -> NDArray[np.float32] | None:
    """Tables of what turns with the astigmatism as cos 2(θ - azimuth), for `render_columns`; None where nothing does.

    Raises
    ------
    LibraryError
        Where the library cannot answer for these optics or columns.
    """
    library.check(optics)
    turning = library.astigmatic_parts(columns, optics)
    return None if turning is None else response_table(turning)


def render_columns(
    shape: tuple[int, int],
    pixel_size_angstrom: float,
    positions_px: NDArray[np.floating[Any]],
    column_index: NDArray[np.integer[Any]],
    tables: NDArray[np.float32],
    amplitude: NDArray[np.floating[Any]] | None = None,
    astigmatic: NDArray[np.float32] | None = None,
    astigmatism_azimuth_rad: float = 0.0,
) -> NDArray[np.float32]:
    """Add up column responses on a pixel grid.

    Parameters
    ----------
    shape
        Height and width in pixels.
    pixel_size_angstrom
        Square pixels.
    positions_px
        (n, 2) y, x array-index coordinates; columns outside the frame reach into it.
    column_index
        (n,) row of `tables` for each position.
    tables
        From `response_tables`.
    amplitude
        (n,) factor for each column, 1 where left out.
    astigmatic
        From `astigmatic_tables`: what is added to `tables` times cos 2(θ - azimuth).
    astigmatism_azimuth_rad
        From the x axis towards y.

    Returns
    -------
    numpy.ndarray
        `shape` float32, fraction of the beam.
    """
    positions = np.ascontiguousarray(positions_px, np.float64) * pixel_size_angstrom
    order = np.argsort(positions[:, 0], kind="stable")
    weight = np.ones(len(positions)) if amplitude is None else np.asarray(amplitude, np.float64)
    index, weight = np.asarray(column_index, np.int64)[order], weight[order]
    image = np.zeros(shape, np.float32)
    _render(
        image, pixel_size_angstrom, positions[order], index, weight, np.ascontiguousarray(tables, np.float32)
    )
    if astigmatic is not None:
        turning = np.ascontiguousarray(astigmatic, np.float32)
        _render_turning(
            image, pixel_size_angstrom, positions[order], index, weight, turning, astigmatism_azimuth_rad
        )
    return image


def count_electrons(
    fraction: NDArray[np.float32],
    dose_e_per_angstrom2: float,
    pixel_size_angstrom: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Poisson counts of a frame of fractions of the beam, in electrons a pixel."""
    mean = np.clip(fraction, 0, None) * (dose_e_per_angstrom2 * pixel_size_angstrom**2)
    return rng.poisson(mean).astype(np.float32)


@compiled()
def _reached(centre, pixel, first, end):  # type: ignore[no-untyped-def]
    """Range of pixels between two bounds that a column's response reaches along an axis."""
    return (
        max(first, int((centre - REACH_ANGSTROM) / pixel)),
        min(end, int((centre + REACH_ANGSTROM) / pixel) + 2),
    )


@compiled(parallel=True, fastmath=True)
def _render(image, pixel, positions, index, weight, tables):  # type: ignore[no-untyped-def]  # numba infers types
    height, width = image.shape
    block = 32
    for b in numba.prange((height + block - 1) // block):
        top, bottom = b * block, min(height, (b + 1) * block)
        first = np.searchsorted(positions[:, 0], top * pixel - REACH_ANGSTROM)
        last = np.searchsorted(positions[:, 0], bottom * pixel + REACH_ANGSTROM)
        for k in range(first, last):
            y, x = positions[k, 0], positions[k, 1]
            table, factor = tables[index[k]], weight[k]
            i0, i1 = _reached(y, pixel, top, bottom)
            j0, j1 = _reached(x, pixel, 0, width)
            for i in range(i0, i1):
                dy2 = (i * pixel - y) ** 2
                for j in range(j0, j1):
                    squared = dy2 + (j * pixel - x) ** 2
                    if squared < REACH_ANGSTROM * REACH_ANGSTROM:
                        place = squared / SQUARED_STEP
                        cell = int(place)
                        share = place - cell
                        image[i, j] += factor * (table[cell] * (1 - share) + table[cell + 1] * share)


@compiled(parallel=True, fastmath=True)
def _render_turning(image, pixel, positions, index, weight, tables, azimuth):  # type: ignore[no-untyped-def]
    height, width = image.shape
    block = 32
    cosine, sine = np.cos(2 * azimuth), np.sin(2 * azimuth)
    for b in numba.prange((height + block - 1) // block):
        top, bottom = b * block, min(height, (b + 1) * block)
        first = np.searchsorted(positions[:, 0], top * pixel - REACH_ANGSTROM)
        last = np.searchsorted(positions[:, 0], bottom * pixel + REACH_ANGSTROM)
        for k in range(first, last):
            y, x = positions[k, 0], positions[k, 1]
            table, factor = tables[index[k]], weight[k]
            i0, i1 = _reached(y, pixel, top, bottom)
            j0, j1 = _reached(x, pixel, 0, width)
            for i in range(i0, i1):
                dy = i * pixel - y
                for j in range(j0, j1):
                    dx = j * pixel - x
                    squared = dy * dy + dx * dx
                    if 0.0 < squared < REACH_ANGSTROM * REACH_ANGSTROM:
                        place = squared / SQUARED_STEP
                        cell = int(place)
                        share = place - cell
                        turned = ((dx * dx - dy * dy) * cosine + 2 * dx * dy * sine) / squared
                        image[i, j] += factor * turned * (table[cell] * (1 - share) + table[cell + 1] * share)
