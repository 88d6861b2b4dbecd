"""A frame that is being scanned: only the sites whose patches became whole are judged when new rows arrive.

The rows that were there first give the scale (gain, background, source size, noise) by which later ones are judged.
It is measured anew, and everything judged again, whenever the rows have doubled, and where new sites do not fit it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.chemistry import materials
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.patches import HALF_WIDTH
from stemctx_core.judging.decision import OBSTACLES
from stemctx_core.judging.evidence import SiteEvidence
from stemctx_core.judging.view import Sites
from stemctx_core.lattice import SiteGrid
from stemctx_core.results import EDGE, FrameIdentity, FrameResult

#: New sites fit the scale of the rows before while their whitened distance is not this much larger than there.
_FITTING: Final = 1.5
#: Room that a patch needs around its site (lattice constants): its disc, and more where the frame is sheared.
_REACH: Final = 1.1 * HALF_WIDTH + 0.1
_CUT: Final = OBSTACLES.index(EDGE)


@dataclass(frozen=True)
class _Rows:
    """What is known of the rows of a frame so far.

    Attributes
    ----------
    key
        Which frame, in which context.
    rows
        How many.
    scale_rows
        How many there were when the scale was measured.
    """

    key: object
    rows: int
    scale_rows: int
    evidence: SiteEvidence


class GrowingFrame:
    """Judges the rows of one frame as they come.

    Parameters
    ----------
    analyzer
        Judges frames without memory.
    """

    def __init__(self, analyzer: FrameAnalyzer) -> None:
        self._analyzer = analyzer
        self._known: _Rows | None = None

    def forget(self) -> None:
        """The frame is whole, or another one has begun."""
        self._known = None

    def analyze(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        frame: FrameIdentity,
        previous: SiteGrid | None = None,
    ) -> tuple[FrameResult, SiteGrid | None]:
        """Judge the rows that are there; rows of another frame, context or shape, or fewer of them, start anew.

        Parameters
        ----------
        image
            (valid rows, width).
        frame
            Which frame it is; rows of the same ``scan_id`` and ``frame_index`` are taken for those before and more.
        previous
            Lattice to follow: of these rows, or of the frame before.

        Returns
        -------
        result
            About every site of the rows so far.
        grid
            The lattice to follow next, None where none was found.
        """
        key = (frame.scan_id, frame.frame_index, frame.shape, image.shape[1], context)
        known, self._known = self._known, None
        if known is not None and (known.key != key or len(image) < known.rows or not frame.scan_id):
            known = None
        timing: dict[str, float] = {}

        def evidence() -> SiteEvidence:
            if known is not None and len(image) < 2 * known.scale_rows:
                grown = self._grown(known, image, context, timing)
                if grown is not None:
                    self._known = _Rows(key, len(image), known.scale_rows, grown)
                    return grown
            before = known.evidence.grid if known is not None else previous
            told = self._analyzer.evidence(image, context, timing, before)
            self._known = _Rows(key, len(image), len(image), told)
            return told

        result = self._analyzer.judge(evidence, context, frame, timing)
        return result, self._known.evidence.grid if self._known is not None else None

    def _grown(
        self, known: _Rows, image: NDArray[Any], context: ImagingContext, timing: dict[str, float]
    ) -> SiteEvidence | None:
        """Evidence of all sites, new ones judged by the scale of the others; None where they do not fit it."""
        old = known.evidence
        grid = self._analyzer.sites(image, context, timing, old.grid)
        assert old.grid is not None
        before, after = _same(old.grid, grid)
        if len(before) < 0.9 * np.count_nonzero(old.grid.positions_px[:, 0] < known.rows - 1):
            return None  # the lattice was found anew, or elsewhere
        reach_px = _REACH * materials.host(context.host).a_angstrom / grid.pixel_size_angstrom
        log_likelihood = np.zeros((len(grid), old.log_likelihood.shape[1]), np.float32)
        obstacle = np.full(len(grid), _CUT, np.int8)
        log_likelihood[after], obstacle[after] = old.log_likelihood[before], old.obstacle[before]
        # Above these rows no patch was cut by the last row, so that none can have become whole.
        late = grid.positions_px[:, 0] > known.rows - 1 - reach_px
        new = np.flatnonzero(late & (obstacle == _CUT))
        if len(new):
            first = max(0, int(grid.positions_px[new, 0].min() - reach_px) - 1)
            told = self._analyzer.evidence_by(
                old.scale, image[first:], _part(grid, new, first), context, timing
            )
            if told.unfitness > _FITTING * old.unfitness:
                return None
            log_likelihood[new], obstacle[new] = told.log_likelihood, told.obstacle
        return replace(
            old,
            sites=Sites(grid.positions_px, grid.sublattice, grid.pixel_size_angstrom),
            frames=np.ones(len(grid), np.int32),
            log_likelihood=log_likelihood,
            obstacle=obstacle,
            grid=grid,
        )


def _same(old: SiteGrid, new: SiteGrid) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of two grids that are of the same sites."""
    keys = [
        ((g.cell_index[:, 0].astype(np.int64) << 32) + g.cell_index[:, 1]) * 2 + g.sublattice
        for g in (old, new)
    ]
    _, before, after = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    still = np.hypot(*(new.positions_px[after] - old.positions_px[before]).T) < 0.25 * np.hypot(*new.bond_px)
    return before[still], after[still]


def _part(grid: SiteGrid, chosen: NDArray[np.intp], first_row: int) -> SiteGrid:
    """Some sites of a grid, in the image below a row."""
    return replace(
        grid,
        positions_px=grid.positions_px[chosen] - (first_row, 0),
        sublattice=grid.sublattice[chosen],
        cell_index=grid.cell_index[chosen],
        coherence=grid.coherence[chosen],
    )
