"""What frames show, from their intensities to the likelihood of every candidate at every site; nothing is concluded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from stemctx_core.calibration.frame_checks import check_image
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.cutting import FrameRoom
from stemctx_core.encoding.knowledge import Knowledge, knowledge
from stemctx_core.judging.calibrated import CalibratedFrame
from stemctx_core.judging.evidence import EvidenceMaker, SiteEvidence, timed
from stemctx_core.judging.observation import FrameScale, Observation
from stemctx_core.judging.trained import TrainedRanges
from stemctx_core.judging.view import check_naming, lattice, view
from stemctx_core.lattice import SiteGrid
from stemctx_core.simulation.library import ResponseLibrary


class FrameEvidence:
    """Finds the sites of a frame and what it shows of them.

    Parameters
    ----------
    library
        Column responses.
    maker
        From patches to likelihoods.
    trained
        Conditions that the model may be asked about.
    """

    def __init__(self, library: ResponseLibrary, maker: EvidenceMaker, trained: TrainedRanges) -> None:
        self.library = library
        self._maker = maker
        self._trained = trained
        self._room = FrameRoom()
        self._last_known: tuple[ImagingContext, Knowledge] | None = None

    def evidence(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        timing: dict[str, float] | None = None,
        previous: SiteGrid | None = None,
    ) -> SiteEvidence:
        """Sites of a frame with the likelihood of every candidate.

        Parameters
        ----------
        timing
            Milliseconds of each step are added to it.
        previous
            Lattice of the frame before it (`SiteEvidence.grid`), followed where it still fits; else, and without
            one, the lattice is found anew.

        Raises
        ------
        FrameError, LibraryError, InputError
            Why the frame cannot be judged.
        """
        timing = {} if timing is None else timing
        return self._maker.likelihood(self.observe(image, context, timing, previous), timing)

    def observe(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        timing: dict[str, float],
        previous: SiteGrid | None = None,
        calibrated: CalibratedFrame | None = None,
    ) -> Observation:
        """What a frame shows of each site; other parameters and errors as of `evidence`.

        Parameters
        ----------
        calibrated
            As of `EvidenceMaker.observe`.
        """
        grid = self.sites(image, context, timing, previous)
        with timed(timing, "patches"):
            viewed = view(image, grid, context, self._known(context), self._room)
        return self._maker.observe(viewed, timing, calibrated=calibrated)

    def likelihood(
        self, seen: Observation, timing: dict[str, float], scale: FrameScale | None = None
    ) -> SiteEvidence:
        """Likelihood of every candidate for what was seen in one frame or in several of one field.

        It is to be judged as it is: the network is asked about sites that leave a doubt only.

        Parameters
        ----------
        scale
            With the noise, where it is known already.
        """
        return self._maker.likelihood(seen, timing, scale, doubtful_only=True)

    def sites(
        self,
        image: NDArray[Any],
        context: ImagingContext,
        timing: dict[str, float],
        previous: SiteGrid | None = None,
    ) -> SiteGrid:
        """The lattice of a frame; parameters and errors as of `evidence`."""
        known = self._known(context)
        check_image(image)
        with timed(timing, "sites"):
            grid = lattice(image, context, known, previous)
        check_naming(grid, known)
        return grid

    def evidence_by(
        self,
        scale: FrameScale,
        image: NDArray[Any],
        grid: SiteGrid,
        context: ImagingContext,
        timing: dict[str, float],
    ) -> SiteEvidence:
        """Likelihood of every candidate at the sites of a grid, by what the frame has said of itself before."""
        with timed(timing, "patches"):
            viewed = view(image, grid, context, self._known(context), self._room)
        return self._maker.evidence(viewed, timing, scale)

    def _known(self, context: ImagingContext) -> Knowledge:
        if self._last_known is None or self._last_known[0] != context:
            known = knowledge(self.library, context)
            self._trained.check(known.optics, known.missing)
            self._last_known = context, known
        return self._last_known[1]

    def _of_detectors(
        self, ordered: Sequence[tuple[NDArray[Any], ImagingContext]], timing: dict[str, float]
    ) -> list[SiteEvidence]:
        """Evidence of each detector of one scan, at the sites that the first one shows."""
        image, context = ordered[0]
        grid = self.sites(image, context, timing)
        each = []
        for seen_image, seen_context in ordered:
            with timed(timing, "patches"):
                viewed = view(seen_image, grid, seen_context, self._known(seen_context), self._room)
            each.append(self._maker.evidence(viewed, timing))
        return each
