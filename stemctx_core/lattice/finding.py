"""The lattice of a frame that nothing is known of but its host."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import LatticeError
from stemctx_core.lattice.cell import MOST_PIXELS, MeanCell, fold
from stemctx_core.lattice.grid import SiteGrid, cells_near, lattice_constant, lay_out
from stemctx_core.lattice.naming import ExpectedRatio, Naming, VisibleSites, by_columns, by_ratio
from stemctx_core.lattice.phase import PhaseField, fit_phase
from stemctx_core.lattice.prepared import FEWEST_ROWS, prepared, too_small
from stemctx_core.lattice.reciprocal import Hexagon, find_hexagon

Real = NDArray[np.float32]

#: How far the declared pixel size may be off while the lattice is searched around it, as a factor.
HINT_FACTOR: Final = 1.45
#: Highest frequency searched without a hint (cycles per pixel): three pixels from plane to plane.
_HIGHEST_FREQUENCY: Final = 0.33
#: Least agreement of the third Bragg peak: lattices reach 0.9 down to 30 e/Å² and beside another grain, films that
#: pass for a hexagon by chance 0.3.
LEAST_AGREEMENT: Final = 0.6
#: So many pixels place the mean cell to a hundredth of a pixel and give its heights; all are folded where their error
#: is more than this part of the dimmer column's, and where they do not name the sublattices.
FEW_PIXELS: Final = MOST_PIXELS // 4
_LEAST_ERROR: Final = 0.02
#: Second shell (in units of the first) below which columns are dark.
_DARK_COLUMNS: Final = -0.05


def find_sites(
    image: NDArray[Any], host: Host, expected_ratio: ExpectedRatio, pixel_size_angstrom: float | None
) -> SiteGrid:
    """Find every lattice site of a 1H monolayer in an annular dark-field frame.

    Parameters
    ----------
    image
        (height, width), any real type; for a partial frame only the rows that belong to it.
    host
        Gives the lattice constant, and so the pixel size.
    expected_ratio
        Peak of the chalcogen pair over the metal's for the context; names the sublattices.
    pixel_size_angstrom
        As calibrated, a hint that may be 30 % off; None searches all spatial frequencies.

    Raises
    ------
    LatticeError
        Codes ``not_finite``, ``too_small``, ``no_lattice``, ``contrast``.
    InputError
        An image that is not two-dimensional, or a ratio or pixel size that is not positive.
    """
    frame = prepared(image, expected_ratio, pixel_size_angstrom)
    hexagon = _search(frame, host, pixel_size_angstrom)
    rows = min(frame.shape) * float(np.hypot(*hexagon.vectors.T).mean())
    if rows < FEWEST_ROWS:
        raise too_small(frame.shape, rows)
    vectors = _oriented(hexagon.vectors)
    field = fit_phase(frame, vectors, host.a_angstrom / lattice_constant(np.linalg.inv(vectors).T))
    if field.agreement < LEAST_AGREEMENT:
        raise _no_lattice(host, pixel_size_angstrom)
    cell = fold(frame, field, FEW_PIXELS)
    unsure = cell.height_error > _LEAST_ERROR * cell.column_heights[1]
    naming = None if unsure else by_ratio(cell.column_heights, expected_ratio)
    if naming is None:
        cell = fold(frame, field)
    check_contrast(cell)
    naming = naming or _naming(frame, host, field, cell, expected_ratio)
    return lay_out(_shape(frame), host.a_angstrom, field, cell, naming)


def _naming(
    frame: Real, host: Host, field: PhaseField, cell: MeanCell, expected_ratio: ExpectedRatio
) -> Naming:
    """By the ratio where it decides, else by the columns."""
    decided = by_ratio(cell.column_heights, expected_ratio)
    if decided is not None:
        return decided
    cells, shape = cells_near(_shape(frame), field), _shape(frame)
    brighter, dimmer, hollow = (field.points(cells + point, shape) for point in cell.points)
    pixel_size = host.a_angstrom / lattice_constant(field.mean_basis())
    visible = VisibleSites(brighter, dimmer, hollow, cell.column_heights)
    return by_columns(frame, visible, host, expected_ratio, pixel_size)


def _shape(frame: Real) -> tuple[int, int]:
    return frame.shape[0], frame.shape[1]


def _search(frame: Real, host: Host, pixel_size_angstrom: float | None) -> Hexagon:
    """The first-order Bragg peaks, around the declared pixel size first and then anywhere."""
    plane = host.a_angstrom * np.sqrt(3) / 2
    found = None
    if pixel_size_angstrom is not None:
        expected = pixel_size_angstrom / plane
        if min(frame.shape) * expected * HINT_FACTOR < FEWEST_ROWS:
            raise too_small(frame.shape, min(frame.shape) * expected)
        found = find_hexagon(
            frame, expected / HINT_FACTOR, min(expected * HINT_FACTOR, _HIGHEST_FREQUENCY), expected
        )
    if found is None:
        found = find_hexagon(frame, 4.0 / max(frame.shape), _HIGHEST_FREQUENCY)
    if found is None:
        raise _no_lattice(host, pixel_size_angstrom)
    return found


def _oriented(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bragg vectors whose direct lattice vectors are 60° apart, the first within 30° of the fast scan axis."""
    a1, a2 = np.linalg.inv(vectors).T
    six = np.array([a1, a2, a1 - a2, -a1, -a2, a2 - a1])
    angle = np.arctan2(six[:, 0], six[:, 1])
    first = int(np.argmin(np.abs(angle)))
    turned = (angle - angle[first] - np.pi / 3 + np.pi) % (2 * np.pi) - np.pi
    second = int(np.argmin(np.abs(turned)))
    oriented: NDArray[np.float64] = np.linalg.inv(np.array([six[first], six[second]])).T
    return oriented


def check_contrast(cell: MeanCell) -> None:
    """Raise `LatticeError` where the columns are dark."""
    if cell.second_shell < _DARK_COLUMNS and cell.second_shell < -5 * cell.second_shell_error:
        raise LatticeError(
            "contrast",
            "The columns are darker than the hollow sites, as in a bright-field image.",
            "Take the annular dark-field channel, or turn the contrast of this one round.",
        )


def _no_lattice(host: Host, pixel_size_angstrom: float | None) -> LatticeError:
    where = "" if pixel_size_angstrom is None else f" near {pixel_size_angstrom:g} Å a pixel or elsewhere"
    return LatticeError(
        "no_lattice",
        f"No hexagonal lattice of a {host.name} monolayer stands out of the noise{where}.",
        "Check focus, dose, field of view and the host.",
    )
