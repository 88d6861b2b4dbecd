"""What a session asks of what judges its frames, and of what records them; the microscope's side is in `microscope`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from realtime.autonomy.microscope import ScannedFrame, ScanRequest
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity, FrameResult


class Judge(Protocol):
    """`FrameAnalyzer`, or a `DefectClient`."""

    def analyze(self, image: NDArray[Any], context: ImagingContext, frame: FrameIdentity, /) -> FrameResult:
        """Judge a frame; one that cannot be judged is a refusal, not an exception."""


class Record(Protocol):
    """What a session asks of `realtime.autonomy.record.recorder.Recorder`."""

    def exposure_intended(self, key: str, request: ScanRequest, dose: float, rule: str) -> int:
        """Write, before the beam is on, that there will be an exposure; return its number."""

    def exposure_done(self, number: int, frame: ScannedFrame, result: FrameResult) -> None:
        """Write what came of it."""

    def decision(self, rule: str, evidence: Mapping[str, Any], action: str) -> None:
        """Write a decision with its evidence."""

    def note(self, text: str) -> None:
        """Write a remark."""

    def intended_keys(self) -> set[str]:
        """Keys of exposures that were begun, finished or not."""

    def load_view(self, key: str) -> tuple[ScannedFrame, FrameResult] | None:
        """Frame and result of an exposure that is whole."""

    def spent(self) -> Sequence[tuple[ScanRequest, float]]:
        """Every exposure that was begun, with its dose (e/Å²), in order."""
