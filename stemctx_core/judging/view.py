"""The sites of a frame as one detector saw them: the lattice, found anew or followed, and a patch at each site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.calibration.frame_checks import blank_rows, clipped_words, pixel_size_words
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext, Known
from stemctx_core.contrast.cutting import FrameRoom, cut_discs
from stemctx_core.contrast.patches import SAMPLES, CutPatches, inside_disc, whole_patches
from stemctx_core.encoding.knowledge import Knowledge
from stemctx_core.errors import FrameError
from stemctx_core.judging.decision import NO_LATTICE_HERE, OBSTACLES
from stemctx_core.lattice import SiteGrid, find_sites, track_sites
from stemctx_core.results import EDGE

#: Below this part of the frame's typical lattice contrast there is no crystal to judge.
LEAST_COHERENCE: Final = 0.35
#: Below this probability that the sublattices have their right names nothing is judged, unless all optics are known.
LEAST_CERTAINTY: Final = 0.85


@dataclass(frozen=True)
class Sites:
    """Where the sites of a frame are.

    Attributes
    ----------
    positions_px
        (n, 2) y, x.
    sublattice
        (n,) int8: 0 metal, 1 chalcogen.
    pixel_size_angstrom
        By the lattice.
    """

    positions_px: NDArray[np.float64]
    sublattice: NDArray[np.int8]
    pixel_size_angstrom: float


@dataclass(frozen=True)
class View:
    """The sites of a frame as one detector saw them.

    Attributes
    ----------
    discs
        (judged sites, DISC) float32 in the intensity units of the frame.
    obstacle
        (n,) int8 index into `stemctx_core.judging.decision.OBSTACLES`: why a site is not judged, 0 where it is.
    known
        The optics, and what of them is missing.
    pixel_size_off
        Pixel size by the lattice over the calibrated one, None where none is known.
    warnings
        What is to be said of the frame already.
    grid
        The lattice; None where only patches were given.
    """

    discs: NDArray[np.float32]
    sites: Sites
    obstacle: NDArray[np.int8]
    context: ImagingContext
    known: Knowledge
    pixel_size_off: float | None
    warnings: tuple[str, ...] = ()
    grid: SiteGrid | None = None


def lattice(
    image: NDArray[Any], context: ImagingContext, known: Knowledge, previous: SiteGrid | None = None
) -> SiteGrid:
    """The lattice of a frame: that of the frame before it where it still fits, else found anew.

    Raises
    ------
    LatticeError
        Where there is none.
    """
    host = materials.host(context.host)
    grid = track_sites(image, previous, host, known.expected_ratio) if previous is not None else None
    return find_sites(image, host, known.expected_ratio, _hint(context)) if grid is None else grid


def check_naming(grid: SiteGrid, known: Knowledge) -> None:
    """Raise `FrameError` where neither what is known of the optics nor the columns tell which sublattice is the metal."""
    if known.missing and grid.naming_certainty < LEAST_CERTAINTY:
        raise FrameError(
            "sublattices",
            f"Which sublattice is the metal cannot be told without what is missing: {grid.naming}.",
            "Give the detector's inner and outer angles, the high tension and the convergence angle.",
        )


def view(
    image: NDArray[Any],
    grid: SiteGrid,
    context: ImagingContext,
    known: Knowledge,
    room: FrameRoom | None = None,
) -> View:
    """The discs around the sites of a frame.

    Parameters
    ----------
    room
        Where the discs are put; memory of their own by default.

    Raises
    ------
    FrameError
        Where the pixel size of the context contradicts the lattice.
    """
    hint = _hint(context)
    warnings = pixel_size_words(grid.pixel_size_angstrom, hint, context.host) + clipped_words(image)
    if grid.is_ambiguous:
        warnings.append(f"The sublattices may be named the wrong way round: {grid.naming}.")
    obstacle = np.zeros(len(grid), np.int8)
    # Coherence is that of a neighbourhood and relative to the frame's: it does not see where the beam was blanked.
    blank = blank_rows(image, float(np.linalg.norm(grid.basis_px[0])))
    rows = np.clip(np.rint(grid.positions_px[:, 0]).astype(int), 0, len(blank) - 1)
    obstacle[(grid.coherence < LEAST_COHERENCE) | blank[rows]] = OBSTACLES.index(NO_LATTICE_HERE)
    obstacle[~whole_patches(image.shape, grid)] = OBSTACLES.index(EDGE)
    discs = cut_discs(image, grid, obstacle == 0, room)
    sites = Sites(grid.positions_px, grid.sublattice, grid.pixel_size_angstrom)
    off = grid.pixel_size_angstrom / hint if hint else None
    return View(discs, sites, obstacle, context, known, off, tuple(warnings), grid)


def view_of_patches(patches: CutPatches, context: ImagingContext, known: Knowledge) -> View:
    """Lattice-registered patches that somebody else cut.

    Raises
    ------
    FrameError
        Where some hold NaN or infinity.
    """
    pixel = context.pixel_size_angstrom
    positions_px = np.stack([patches.y_px, patches.x_px], axis=1).astype(np.float64)
    pixel_size = pixel.value if isinstance(pixel, Known) else float("nan")
    sites = Sites(positions_px, np.asarray(patches.sublattice, np.int8), pixel_size)
    squares = np.asarray(patches.patches, np.float32).reshape(len(positions_px), SAMPLES)
    if not np.isfinite(squares).all():
        raise FrameError("not_finite", "Some patches hold NaN or infinity.", "Leave those patches out.")
    discs = np.ascontiguousarray(squares[:, inside_disc()])
    return View(discs, sites, np.zeros(len(squares), np.int8), context, known, None)


def _hint(context: ImagingContext) -> float | None:
    pixel = context.pixel_size_angstrom
    return pixel.value if isinstance(pixel, Known) else None
