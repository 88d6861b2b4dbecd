"""Every lattice site of a frame, vacant ones included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.errors import InputError, LatticeError
from stemctx_core.lattice.cell import THIRD, MeanCell, fold
from stemctx_core.lattice.naming import VisibleSites, name_sublattices
from stemctx_core.lattice.phase import PhaseField, fit_phase
from stemctx_core.lattice.reciprocal import Hexagon, find_hexagon
from stemctx_core.materials import Host

Real = NDArray[np.float32]

#: A frame of fewer lattice rows cannot be judged.
FEWEST_ROWS: Final = 4.5
_FEWEST_PIXELS: Final = 16
#: How far the declared pixel size may be off while the lattice is searched around it, as a factor.
HINT_FACTOR: Final = 1.45
#: Highest frequency searched without a hint (cycles per pixel): three pixels from plane to plane.
_HIGHEST_FREQUENCY: Final = 0.33
#: Least agreement of the third Bragg peak: lattices reach 0.9 down to 30 e/Å² and beside another grain, films that
#: pass for a hexagon by chance 0.3.
_LEAST_AGREEMENT: Final = 0.6
#: Second shell (in units of the first) below which columns are dark.
_DARK_COLUMNS: Final = -0.05
#: Sites closer than this to the frame's edge are left out (px).
_EDGE_PX: Final = 0.5


@dataclass(frozen=True)
class SiteGrid:
    """The lattice sites of a frame, n of them.

    A site's cell is that of the metal: the chalcogen of a cell stands `bond_px` from its metal.

    Attributes
    ----------
    positions_px
        (n, 2) float64 y, x; follows drift and warp.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    cell_index
        (n, 2) int32 in units of `basis_px`.
    basis_px
        (2, 2) float64 rows a1, a2 as y, x in pixels, 60 degrees apart, mean over the frame.
    bond_px
        (2,) float64 mean vector from a metal site to one of its chalcogen neighbours.
    pixel_size_angstrom
        From the lattice constant of the host.
    naming
        How the sublattices were told apart; starts with ``ratio``, ``columns`` or ``ambiguous``.
    coherence
        (n,) float32 how well the lattice is seen around the site: 1 typical of the frame, 0 none (a hole,
        another grain).
    """

    positions_px: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    cell_index: NDArray[np.int32]
    basis_px: NDArray[np.float64]
    bond_px: NDArray[np.float64]
    pixel_size_angstrom: float
    naming: str
    coherence: Real

    def __len__(self) -> int:
        return len(self.positions_px)

    def swapped(self) -> SiteGrid:
        """The same sites with the sublattices named the other way round."""
        other = (1 - self.sublattice).astype(np.int8)
        return replace(self, sublattice=other, bond_px=-self.bond_px, naming=f"swapped; {self.naming}")


def find_sites(
    image: NDArray[Any], host: Host, expected_ratio: float, pixel_size_angstrom: float | None
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
    frame = _prepared(image, expected_ratio, pixel_size_angstrom)
    hexagon = _search(frame, host, pixel_size_angstrom)
    rows = min(frame.shape) * float(np.hypot(*hexagon.vectors.T).mean())
    if rows < FEWEST_ROWS:
        raise _too_small(frame.shape, rows)
    vectors = _oriented(hexagon.vectors)
    field = fit_phase(frame, vectors, host.a_angstrom / _length(np.linalg.inv(vectors).T))
    if field.agreement < _LEAST_AGREEMENT:
        raise _no_lattice(host, pixel_size_angstrom)
    cell = fold(frame, field)
    _check_contrast(cell)
    return _grid(frame, host, field, cell, expected_ratio)


def _prepared(image: NDArray[Any], expected_ratio: float, pixel_size_angstrom: float | None) -> Real:
    """The frame as float32 of mean 0 and unit spread, single hot pixels cut, after the checks that need no lattice."""
    array = np.asarray(image)
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise InputError(
            f"A frame is a two-dimensional array of real numbers, this one has the shape {array.shape} and the type "
            f"{array.dtype}. Give one frame."
        )
    if not (np.isfinite(expected_ratio) and expected_ratio > 0):
        raise InputError(f"The expected ratio X2/M is {expected_ratio}. Give a positive number.")
    if pixel_size_angstrom is not None and not (np.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise InputError(f"The pixel size is {pixel_size_angstrom} Å. Give a positive number, or none at all.")
    if min(array.shape) < _FEWEST_PIXELS:
        raise _too_small(array.shape, None)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise LatticeError(
            "not_finite",
            f"{bad} of {array.size} pixels are not finite numbers.",
            "Give only rows that have been scanned, without NaN or infinity.",
        )
    values = array.astype(np.float64)
    low, high = np.percentile(values[::4, ::4], (0.5, 99.5))
    values = np.clip(values, low - (high - low), high + (high - low)) if high > low else values
    values -= values.mean()
    spread = float(values.std())
    if spread == 0:
        raise LatticeError(
            "no_lattice", "All pixels have the same value.", "Check that the detector is in and on."
        )
    frame: Real = (values / spread).astype(np.float32)
    return frame


def _search(frame: Real, host: Host, pixel_size_angstrom: float | None) -> Hexagon:
    """The first-order Bragg peaks, around the declared pixel size first and then anywhere."""
    plane = host.a_angstrom * np.sqrt(3) / 2
    found = None
    if pixel_size_angstrom is not None:
        expected = pixel_size_angstrom / plane
        if min(frame.shape) * expected * HINT_FACTOR < FEWEST_ROWS:
            raise _too_small(frame.shape, min(frame.shape) * expected)
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


def _length(basis: NDArray[np.floating[Any]]) -> float:
    """Lattice constant of the regular lattice with the same cell area, which shear leaves alone (px)."""
    return float(np.sqrt(abs(np.linalg.det(basis)) * 2 / np.sqrt(3)))


def _check_contrast(cell: MeanCell) -> None:
    if cell.second_shell < _DARK_COLUMNS and cell.second_shell < -5 * cell.second_shell_error:
        raise LatticeError(
            "contrast",
            "The columns are darker than the hollow sites, as in a bright-field image.",
            "Take the annular dark-field channel, or turn the contrast of this one round.",
        )


def _grid(frame: Real, host: Host, field: PhaseField, cell: MeanCell, expected_ratio: float) -> SiteGrid:
    """Enumerate the sites of both sublattices and name them."""
    basis = field.mean_basis()
    pixel_size = host.a_angstrom / _length(basis)
    cells = _cells(frame.shape, field)
    places = [field.points(cells + point, (frame.shape[0], frame.shape[1])) for point in cell.points]
    visible = VisibleSites(places[0], places[1], places[2], cell.column_heights)
    naming = name_sublattices(frame, visible, host, expected_ratio, pixel_size)
    metal, chalcogen = (0, 1) if naming.metal_is_brighter else (1, 0)
    # The points are thirds of the long diagonal apart; the chalcogen is one of ±(a1 + a2)/3 from the metal.
    offset = cell.points[chalcogen] - cell.points[metal]
    sign = 1.0 if abs((offset[0] - THIRD[0] + 0.5) % 1.0 - 0.5) < 0.1 else -1.0
    to_chalcogen = np.round(offset - sign * THIRD).astype(np.int64)

    limit = np.array(frame.shape) - 1 - _EDGE_PX
    parts = []
    for code, which in enumerate((metal, chalcogen)):
        inside = ((places[which] >= _EDGE_PX) & (places[which] <= limit)).all(axis=1)
        index = cells[inside] + (to_chalcogen if code else 0)
        parts.append((places[which][inside], index, np.full(int(inside.sum()), code, np.int8)))
    positions, index, names = (np.concatenate(p) for p in zip(*parts, strict=True))
    return SiteGrid(
        positions_px=positions,
        sublattice=names,
        cell_index=index.astype(np.int32),
        basis_px=basis,
        bond_px=sign * basis.sum(axis=0) / 3,
        pixel_size_angstrom=pixel_size,
        naming=naming.how,
        coherence=field.coherence_at(positions),
    )


def _cells(shape: tuple[int, ...], field: PhaseField) -> NDArray[np.float64]:
    """(n, 2) whole lattice coordinates of every cell that may reach into the frame."""
    border = [np.linspace(0, n - 1, 33) for n in shape]
    edge = np.stack(np.meshgrid(*border, indexing="ij"), axis=-1).reshape(-1, 2)
    seen = field.lattice_coordinates(edge)
    low, high = np.floor(seen.min(axis=0)) - 3, np.ceil(seen.max(axis=0)) + 3
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    # Most of that parallelogram is outside the frame: keep what is near it before the phases are followed.
    rough = (cells - field.displacement(np.array([[0.0, 0.0]]))) @ np.linalg.inv(field.vectors).T
    reach = 3 * _length(np.linalg.inv(field.vectors)) + _stray(field)
    near = ((rough > -reach) & (rough < np.array(shape) + reach)).all(axis=1)
    return cells[near]


def _stray(field: PhaseField) -> float:
    """How far the phases move a site from a perfect lattice through the first pixel, at most (px)."""
    span = field.phase.max(axis=(1, 2)) - field.phase.min(axis=(1, 2))
    return float(np.abs(np.linalg.inv(field.vectors)).sum(axis=1).max() * span.max() / (2 * np.pi))


def _no_lattice(host: Host, pixel_size_angstrom: float | None) -> LatticeError:
    where = "" if pixel_size_angstrom is None else f" near {pixel_size_angstrom:g} Å a pixel or elsewhere"
    return LatticeError(
        "no_lattice",
        f"No hexagonal lattice of a {host.name} monolayer stands out of the noise{where}.",
        "Check focus, dose, field of view and the host.",
    )


def _too_small(shape: tuple[int, ...], rows: float | None) -> LatticeError:
    size = " x ".join(str(n) for n in shape)
    seen = "" if rows is None else f" and {rows:.1f} lattice rows"
    return LatticeError(
        "too_small",
        f"The frame has {size} pixels{seen}.",
        "Give at least five lattice rows (15 Å) in each direction.",
    )
