"""Every lattice site of a frame, vacant ones included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.lattice import kernels
from stemctx_core.lattice.cell import THIRD, MeanCell
from stemctx_core.lattice.naming import AMBIGUOUS, Naming
from stemctx_core.lattice.phase import PhaseField

Real = NDArray[np.float32]

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
    naming_certainty
        Probability that an ambiguous naming is right; 1 for the others.
    coherence
        (n,) float32 how well the lattice is seen around the site: 1 typical of the frame, 0 none (a hole,
        another grain).
    metal_is_brighter
        Whether the metal was found to be the brighter sublattice.
    field
        Phases of the lattice through the frame, by which it is followed in the next one; None for a grid that was
        not found in an image.
    """

    positions_px: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    cell_index: NDArray[np.int32]
    basis_px: NDArray[np.float64]
    bond_px: NDArray[np.float64]
    pixel_size_angstrom: float
    naming: str
    coherence: Real
    metal_is_brighter: bool = True
    field: PhaseField | None = None
    naming_certainty: float = 1.0

    def __len__(self) -> int:
        return len(self.positions_px)

    @property
    def is_ambiguous(self) -> bool:
        """Whether the names of the sublattices are a guess."""
        return self.naming.startswith(AMBIGUOUS)

    def swapped(self) -> SiteGrid:
        """The same sites with the sublattices named the other way round."""
        other = (1 - self.sublattice).astype(np.int8)
        return replace(
            self,
            sublattice=other,
            bond_px=-self.bond_px,
            naming=f"swapped; {self.naming}",
            metal_is_brighter=not self.metal_is_brighter,
        )


def lay_out(
    shape: tuple[int, int], a_angstrom: float, field: PhaseField, cell: MeanCell, naming: Naming
) -> SiteGrid:
    """Enumerate the sites of both sublattices inside a frame.

    Parameters
    ----------
    shape
        (height, width) of the frame.
    a_angstrom
        Lattice constant of the host.
    """
    basis = field.mean_basis()
    cells = cells_near(shape, field)
    metal, chalcogen = (0, 1) if naming.metal_is_brighter else (1, 0)
    # The points are thirds of the long diagonal apart; the chalcogen is one of ±(a1 + a2)/3 from the metal.
    offset = cell.points[chalcogen] - cell.points[metal]
    sign = 1.0 if abs((offset[0] - THIRD[0] + 0.5) % 1.0 - 0.5) < 0.1 else -1.0
    to_chalcogen = np.round(offset - sign * THIRD).astype(np.int64)

    points = np.stack([cell.points[metal], cell.points[chalcogen]])
    positions, which = field.sites_within(cells, points, shape, _EDGE_PX)
    names = (which >= len(cells)).astype(np.int8)
    index = (cells[which % len(cells)] + names[:, None] * to_chalcogen).astype(np.int32)
    return SiteGrid(
        positions_px=positions,
        sublattice=names,
        cell_index=index,
        basis_px=basis,
        bond_px=sign * basis.sum(axis=0) / 3,
        pixel_size_angstrom=a_angstrom / lattice_constant(basis),
        naming=naming.how,
        coherence=field.coherence_at(positions),
        metal_is_brighter=naming.metal_is_brighter,
        field=field,
        naming_certainty=naming.certainty,
    )


def lattice_constant(basis: NDArray[np.floating[Any]]) -> float:
    """Lattice constant of the regular lattice with the same cell area, which shear leaves alone (px)."""
    return float(np.sqrt(abs(np.linalg.det(basis)) * 2 / np.sqrt(3)))


def cells_near(shape: tuple[int, int], field: PhaseField) -> NDArray[np.float64]:
    """(n, 2) whole lattice coordinates of every cell that may reach into the frame."""
    low, high = _corners(shape, field)
    # Most of that parallelogram is outside the frame: what is near it is kept before the phases are followed.
    inverse = np.linalg.inv(field.vectors)
    reach = 3 * lattice_constant(inverse) + _stray(field, inverse)
    first = field.phase[:, 0, 0] / (2 * np.pi)
    cells: NDArray[np.float64] = kernels.cells_within(low, high, inverse, first, reach, *shape)
    return cells


def _corners(shape: tuple[int, int], field: PhaseField) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest whole lattice coordinates that are met in a frame, and a little beyond."""
    # Those of a perfect lattice are least and greatest in the corners of the frame.
    corners = np.array([[y, x] for y in (0, shape[0] - 1) for x in (0, shape[1] - 1)]) @ field.vectors.T
    turns = field.phase.reshape(2, -1) / (2 * np.pi)
    low = np.floor(corners.min(axis=0) + turns.min(axis=1)) - 3
    high = np.ceil(corners.max(axis=0) + turns.max(axis=1)) + 3
    return low, high


def _stray(field: PhaseField, inverse: NDArray[np.floating[Any]]) -> float:
    """How far the phases move a site from a perfect lattice through the first pixel, at most (px)."""
    span = np.ptp(field.phase, axis=(1, 2))
    return float(np.abs(inverse).sum(axis=1).max() * span.max() / (2 * np.pi))
