"""The lattice of a frame from that of the frame before it: the same field moved a little, or more of its rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.chemistry.materials import Host
from stemctx_core.errors import LatticeError
from stemctx_core.lattice.cell import MeanCell, fold
from stemctx_core.lattice.finding import FEW_PIXELS, LEAST_AGREEMENT, check_contrast
from stemctx_core.lattice.grid import SiteGrid, lay_out
from stemctx_core.lattice.naming import ExpectedRatio, Naming, by_ratio
from stemctx_core.lattice.phase import refit_phase
from stemctx_core.lattice.prepared import FEWEST_ROWS, prepared

#: The third Bragg peak may agree by this much less than in the frame before.
_LOST_AGREEMENT: Final = 0.1
#: Turn (radians) and stretch of the mean lattice up to which it is still the one before.
_SAME_LATTICE: Final = 0.02
#: Standard errors by which the two sublattices must differ in brightness for their names to be kept.
_SURE: Final = 6.0


def track_sites(
    image: NDArray[Any], previous: SiteGrid, host: Host, expected_ratio: ExpectedRatio
) -> SiteGrid | None:
    """Follow the lattice of the frame before.

    The phases are refined from where they were, the mean cell is measured anew, and the names of the sublattices are
    kept. Cell indices go on: a site keeps its own as long as it drifts by less than half a lattice vector from frame
    to frame; a longer drift finds the sites as well, with other indices.

    Parameters
    ----------
    image
        (height, width), of the width and pixel size of the frame before; it may have other rows.
    previous
        From `find_sites` or from here, for the same host and context.
    host
        Gives the lattice constant.
    expected_ratio
        Peak of the chalcogen pair over the metal's for the context.

    Returns
    -------
    SiteGrid or None
        None where the lattice of the frame before does not fit, or fits worse: look for it with `find_sites`, which
        also says what is wrong with a frame.
    """
    before = previous.field
    if before is None:
        return None
    try:
        frame = prepared(image, expected_ratio, previous.pixel_size_angstrom)
    except LatticeError:
        return None
    if min(frame.shape) * float(np.hypot(*before.vectors.T).mean()) < FEWEST_ROWS:
        return None
    field = refit_phase(frame, before, previous.pixel_size_angstrom)
    if field is None or field.agreement < max(LEAST_AGREEMENT, before.agreement - _LOST_AGREEMENT):
        return None
    change = np.linalg.solve(previous.basis_px, field.mean_basis()) - np.eye(2)
    if np.abs(np.linalg.eigvals(change)).max() > _SAME_LATTICE:
        return None
    # Some pixels show that the columns are as they were; where they do not, all are folded.
    cell = fold(frame, field, FEW_PIXELS)
    naming = _kept(cell, previous, expected_ratio)
    if naming is None or naming.metal_is_brighter != previous.metal_is_brighter:
        cell = fold(frame, field)
        naming = _kept(cell, previous, expected_ratio)
    try:
        check_contrast(cell)
    except LatticeError:
        return None
    if naming is None:
        return None
    return lay_out((frame.shape[0], frame.shape[1]), host.a_angstrom, field, cell, naming)


def _kept(cell: MeanCell, previous: SiteGrid, expected_ratio: ExpectedRatio) -> Naming | None:
    """Names by the ratio where it decides, else as before if it is sure which sublattice is the brighter one."""
    decided = by_ratio(cell.column_heights, expected_ratio)
    if decided is not None:
        return decided
    if cell.heights[0] - cell.heights[1] < _SURE * cell.height_error:
        return None
    return Naming(previous.metal_is_brighter, previous.naming, previous.naming_certainty)
