"""What judges the images of files: a model of this process, loaded at the first image, or a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from numpy.typing import NDArray

from stemctx_core.chemistry.prevalence import Expected, parse_prevalence
from stemctx_core.closing import Closing
from stemctx_core.context import ImagingContext
from stemctx_core.errors import InputError
from stemctx_core.results import FrameIdentity, FrameResult

if TYPE_CHECKING:
    from realtime.client import DefectClient
    from stemctx_core.analysis import FrameAnalyzer

Image = NDArray[Any]


class JudgeSettings(msgspec.Struct, frozen=True):
    """What judges.

    Attributes
    ----------
    bundle, engine
        For a model of this process.
    server, timeout_s
        A server that judges instead.
    key_files
        Secret key file of this client and public one of that server, where it is one with keys.
    prevalence, estimate_prevalence
        How often roles or species are expected, as `stemctx_core.chemistry.prevalence.parse_prevalence` reads it, and whether
        each image's own rates are found.
    thorough
        Whether single images and scans of several detectors are solved for all columns at once.
    """

    bundle: Path | None = None
    engine: str = "auto"
    server: str | None = None
    timeout_s: float = 60.0
    key_files: tuple[Path, Path] | None = None
    prevalence: tuple[str, ...] = ()
    estimate_prevalence: bool = False
    thorough: bool = False

    def expected(self) -> Expected | None:
        """What is expected of every image; None where what its context says is to hold."""
        if not self.prevalence and not self.estimate_prevalence:
            return None
        return Expected(tuple(parse_prevalence(self.prevalence).items()), self.estimate_prevalence)


class Judge(Closing):
    """Judges images; to be closed, or used in a ``with``.

    Parameters
    ----------
    settings
        The shipped model in this process where left out.

    Raises
    ------
    InputError
        A bundle or an engine together with a server, which has its own.
    """

    def __init__(self, settings: JudgeSettings | None = None) -> None:
        self._settings = settings or JudgeSettings()
        self._expected = self._settings.expected()
        if self._settings.server and (self._settings.bundle is not None or self._settings.engine != "auto"):
            raise InputError(
                "The server has its own model and engine. Leave --bundle and --engine out with --server."
            )
        if self._settings.server and self._settings.thorough:
            raise InputError("A server judges in one go. Leave --thorough out with --server.")
        self._analyzer: FrameAnalyzer | None = None
        self._client: DefectClient | None = None

    def close(self) -> None:
        """Let go of the server, where there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def one(self, image: Image, context: ImagingContext, frame: FrameIdentity) -> FrameResult:
        """Judge one image by itself; a transport error is raised, everything else is a refusal."""
        context = self._expecting(context)
        if self._settings.server is not None:
            return self._connected().analyze(image, context, frame, timeout_s=self._settings.timeout_s)
        if self._settings.thorough:
            return self._loaded().analyze(image, context, frame, thorough=True)
        from realtime.server.pipeline import FramePipeline

        return FramePipeline(self._loaded()).process(image, context, frame)

    def field(self, frames: Sequence[Image], context: ImagingContext, frame: FrameIdentity) -> FrameResult:
        """Judge frames of one field by their evidence together, each followed to where the field has drifted."""
        if self._settings.server is not None:
            raise InputError("A stack is followed by the model of this process only. Leave --server out.")
        from realtime.server.pipeline import FramePipeline
        from stemctx_core.following.field_memory import FieldMemory

        analyzer = self._loaded()
        pipeline = FramePipeline(analyzer, lambda _: FieldMemory(analyzer))
        context = self._expecting(context)
        results = [pipeline.process(image, context, frame) for image in frames]
        return results[-1]

    def detectors(self, seen: Sequence[tuple[Image, ImagingContext]], frame: FrameIdentity) -> FrameResult:
        """Judge one scan by all detectors that saw it."""
        if self._settings.server is not None:
            raise InputError(
                "Detectors are judged together by the model of this process only. Leave --server out."
            )
        expecting = [(image, self._expecting(context)) for image, context in seen]
        return self._loaded().analyze_detectors(expecting, frame, thorough=self._settings.thorough)

    def _expecting(self, context: ImagingContext) -> ImagingContext:
        """With the rates that were asked for, where some were."""
        return msgspec.structs.replace(context, expected=self._expected) if self._expected else context

    def _loaded(self) -> FrameAnalyzer:
        if self._analyzer is None:
            from realtime.engines.select import load_classifier
            from stemctx_core.analysis import FrameAnalyzer

            self._analyzer = FrameAnalyzer(
                load_classifier(self._settings.bundle, self._settings.engine),
            )
        return self._analyzer

    def _connected(self) -> DefectClient:
        if self._client is None:
            from realtime.client import DefectClient
            from realtime.keys.certificates import load_client_keys

            keys = load_client_keys(*self._settings.key_files) if self._settings.key_files else None
            assert self._settings.server is not None
            self._client = DefectClient(self._settings.server, keys=keys)
        return self._client
