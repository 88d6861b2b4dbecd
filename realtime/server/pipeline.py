"""From the rows of a frame to a result, for one client: what is remembered between its frames stands here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

import msgspec
import numba

from realtime.wire.codec import AnyArray
from stemctx_core.context import ImagingContext
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult

#: Below so many pixels a second thread gains less than waiting for it costs where another program has its core.
_LEAST_SHARED_PX: Final = 200_000


class Analyzer(Protocol):
    """Judges one frame without memory; `stemctx_core.analysis.FrameAnalyzer` is the one that is shipped.

    Called from one thread at a time. A frame that cannot be judged is a result with a refusal.
    """

    @property
    def model_name(self) -> str:
        """What judges."""

    @property
    def model_sha256(self) -> str:
        """Hash of the model file."""

    @property
    def engine_info(self) -> EngineInfo:
        """What runs the model, and why."""

    def analyze(self, image: AnyArray, context: ImagingContext, frame: FrameIdentity = ...) -> FrameResult:
        """Judge a frame (rows, columns)."""


@runtime_checkable
class PatchAnalyzer(Protocol):
    """An analyzer that takes patches as well; without it they are answered with `Status.UNSUPPORTED`."""

    def analyze_patches(
        self, patches: CutPatches, context: ImagingContext, frame: FrameIdentity
    ) -> FrameResult:
        """Judge patches."""


Memory = Callable[[Analyzer], Analyzer]
"""Wraps the shared analyzer for one client: follows its lattice from frame to frame, judges only new rows of a frame that
is being scanned, and adds up the evidence of the frames of one field. It notices by itself that field or context
changed, and says in `FrameResult.frames_accumulated` how many frames it used."""


class PatchesUnsupported(Exception):
    """The analyzer does not take patches."""


class FramePipeline:
    """What one client's frames go through.

    Parameters
    ----------
    analyzer
        Shared by all clients.
    memory
        Gives this client an analyzer that remembers its frames; None judges each frame for itself.
    threads
        Of the compiled loops over sites and pixels; all cores where left out. Small frames take one.
    """

    def __init__(self, analyzer: Analyzer, memory: Memory | None = None, threads: int | None = None) -> None:
        self._analyzer = memory(analyzer) if memory else analyzer
        self._threads = min(threads or numba.config.NUMBA_NUM_THREADS, numba.config.NUMBA_NUM_THREADS)

    def process(self, image: AnyArray, context: ImagingContext, frame: FrameIdentity) -> FrameResult:
        """Judge the valid rows of a frame.

        Parameters
        ----------
        image
            (rows, columns); rows beyond ``frame.valid_rows`` belong to an older frame and are cut off. Without
            valid rows (0) all of them count.
        """
        # Of the thread that calls, which is not the one that made this.
        numba.set_num_threads(self._threads if image.size >= _LEAST_SHARED_PX else 1)
        rows = min(frame.valid_rows or image.shape[0], image.shape[0])
        whole = frame.shape if all(frame.shape) else (image.shape[0], image.shape[1])
        identity = msgspec.structs.replace(frame, valid_rows=rows, shape=whole)
        return self._analyzer.analyze(image[:rows], context, identity)

    def process_patches(
        self, patches: CutPatches, context: ImagingContext, frame: FrameIdentity
    ) -> FrameResult:
        """Judge patches that the client cut; raise `PatchesUnsupported` where the analyzer cannot."""
        if not isinstance(self._analyzer, PatchAnalyzer):
            raise PatchesUnsupported
        return self._analyzer.analyze_patches(patches, context, frame)


PipelineFactory = Callable[[], FramePipeline]
