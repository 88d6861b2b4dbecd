"""What a replay came to, frame by frame and in all."""

from __future__ import annotations

from typing import Any

import msgspec

from realtime.recording.comparison import Comparison
from realtime.recording.recorder import RecordingStatus
from stemctx_core.results import FrameIdentity


class ReplayedFrame(msgspec.Struct, frozen=True):
    """One frame.

    Attributes
    ----------
    number, frame
        As recorded.
    comparison
        None where one of the two has no result.
    error
        Why it got none this time, or empty.
    error_before
        Why it got none when it was recorded, or empty.
    """

    number: int
    frame: FrameIdentity
    comparison: Comparison | None
    error: str = ""
    error_before: str = ""

    def agrees(self, tolerance: float) -> bool:
        """Whether both results say the same, or there was none either time."""
        if self.comparison is None:
            return bool(self.error and self.error_before)
        return self.comparison.agrees(tolerance)


class ReplayReport(msgspec.Struct, frozen=True):
    """What a replay came to.

    Attributes
    ----------
    recorded
        Frames in the recording.
    replaced
        Not compared, because a newer frame replaced them before they were sent.
    models_before, model_now
        Hashes.
    """

    recorded: int
    frames: tuple[ReplayedFrame, ...]
    replaced: int
    models_before: tuple[str, ...]
    model_now: str
    tolerance: float
    output: RecordingStatus | None = None

    @property
    def disagreeing(self) -> tuple[ReplayedFrame, ...]:
        """Frames that do not agree."""
        return tuple(f for f in self.frames if not f.agrees(self.tolerance))

    @property
    def agrees(self) -> bool:
        """Whether frames were compared and every one of them agrees."""
        return bool(self.frames) and not self.disagreeing

    def summary(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        compared = [f.comparison for f in self.frames if f.comparison is not None]
        return {
            "agrees": self.agrees,
            "tolerance": self.tolerance,
            "recorded": self.recorded,
            "compared": len(compared),
            "replaced": self.replaced,
            "disagreeing": len(self.disagreeing),
            "sites": sum(c.sites for c in compared),
            "sites_again": sum(c.sites_again for c in compared),
            "matched": sum(c.matched for c in compared),
            "decisions_changed": sum(c.decisions_changed for c in compared),
            "largest_posterior_difference": max(
                (c.largest_posterior_difference for c in compared), default=None
            ),
            "models_before": list(self.models_before),
            "model_now": self.model_now,
            "frames": [msgspec.to_builtins(f) for f in self.frames],
        }
