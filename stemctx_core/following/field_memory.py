"""An analyzer for the frames of one client: it follows the lattice, adds up evidence, and judges only new rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.following.accumulate import FieldEvidence, accumulate
from stemctx_core.following.growing import GrowingFrame
from stemctx_core.judging.calibrated import CalibratedFrame
from stemctx_core.judging.evidence import SiteEvidence, timed
from stemctx_core.judging.observation import FrameScale, Observation
from stemctx_core.kernels.robust import medians
from stemctx_core.lattice import SiteGrid
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult

#: Frames of a field between two that are calibrated by themselves.
_CALIBRATED_EVERY: Final = 8


@dataclass(frozen=True)
class _Known:
    """What frames of a field are judged by while it holds.

    Attributes
    ----------
    calibrated
        The last frame that was calibrated by itself.
    frames
        How many were judged by it since, that one included.
    scale
        With the noise as it was measured last.
    added_up
        How many frames were behind most sites then.
    """

    calibrated: CalibratedFrame
    frames: int
    scale: FrameScale
    added_up: int

    @classmethod
    def of(cls, seen: Observation, scale: FrameScale, before: _Known | None) -> _Known | None:
        """What the next frame can be judged by when one has been judged."""
        if seen.calibrated is None:
            return None
        frames = before.frames + 1 if before is not None and before.calibrated is seen.calibrated else 1
        return cls(seen.calibrated, frames, scale, seen.usual_frames)

    def scale_of(self, seen: Observation) -> FrameScale | None:
        """The noise too, where as many frames are added up as when it was measured: more of them show it better."""
        return self.scale if seen.calibrated is self.calibrated and seen.usual_frames == self.added_up else None


class FieldMemory:
    """Judges the frames of one stream with what the frames before them showed.

    Evidence is kept while field of view, host, candidates and every imaging condition stay as they are. While a frame
    is being scanned, its new rows are judged by themselves; when it is whole it is judged whole, and only then counts.

    Parameters
    ----------
    analyzer
        Judges single frames; may be shared.
    """

    def __init__(self, analyzer: FrameAnalyzer) -> None:
        self._analyzer = analyzer
        self._growing = GrowingFrame(analyzer)
        self._grid: SiteGrid | None = None
        self._field: FieldEvidence | None = None
        self._known: _Known | None = None
        self._key: object = None

    @property
    def model_name(self) -> str:
        """As of the analyzer."""
        return self._analyzer.model_name

    @property
    def model_sha256(self) -> str:
        """As of the analyzer."""
        return self._analyzer.model_sha256

    @property
    def engine_info(self) -> EngineInfo:
        """As of the analyzer."""
        return self._analyzer.engine_info

    def analyze_patches(
        self, patches: CutPatches, context: ImagingContext, frame: FrameIdentity
    ) -> FrameResult:
        """Judge patches by themselves."""
        return self._analyzer.analyze_patches(patches, context, frame)

    def analyze(
        self, image: NDArray[Any], context: ImagingContext, frame: FrameIdentity | None = None
    ) -> FrameResult:
        """Judge a frame, or the rows of it that are there, with what is known of its field."""
        if frame is None:
            return self._analyzer.analyze(image, context)
        key = (context.as_imaged, frame.shape)
        if key != self._key:
            self._key, self._grid, self._field, self._known = key, None, None, None
        if frame.valid_rows < frame.shape[0]:
            result, grid = self._growing.analyze(image, context, frame, self._grid)
            self._grid = grid or self._grid  # the first rows are too few to see the lattice
            return result
        self._growing.forget()
        return self._whole(image, context, frame)

    def _whole(self, image: NDArray[Any], context: ImagingContext, frame: FrameIdentity) -> FrameResult:
        timing: dict[str, float] = {}
        past, previous, self._field, self._grid = self._field, self._grid, None, None
        known, self._known = self._known, None
        if known is not None and known.frames >= _CALIBRATED_EVERY:
            known = None

        def evidence() -> SiteEvidence:
            calibrated = known.calibrated if known else None
            new = self._analyzer.observe(image, context, timing, previous, calibrated)
            with timed(timing, "calibration"):
                seen, counts = accumulate(past, new)
            if calibrated is not None and seen.calibrated is calibrated and seen.usual_frames == 1:
                # Another field may have slow variation that its typical columns do not show.
                new = self._analyzer.observe(image, context, timing, new.grid)
                seen, counts = accumulate(past, new)
            scale = known.scale_of(seen) if known else None
            told = self._analyzer.likelihood(seen, timing, scale)
            self._field, self._grid = FieldEvidence.of(seen, counts, told), new.grid
            self._known = _Known.of(seen, told.scale, known)
            return told

        result = self._analyzer.judge(evidence, context, frame, timing)
        return replace(result, frames_accumulated=self._frames())

    def _frames(self) -> int:
        """Frames behind a typical site."""
        counts = self._field.counts if self._field is not None else ()
        return int(medians(np.asarray(counts)[None])[0]) if len(counts) else 1
