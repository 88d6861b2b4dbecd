"""The figures of `stemctx benchmark swift`, and the targets they are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

CALLBACK_MS: Final = 1.0
WINDOW_MS: Final = 2.0
RATE_CHANGE: Final = 0.01


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    measured: str
    target: str
    met: bool


class HarmReport(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes
    ----------
    callback_ms, callback_cpu_ms
        Each call on the acquisition thread, partial frames too: by the clock, and what of it was computing. On a busy
        machine they differ, because other threads and processes have their turn in between.
    copy_ms
        A bare copy of the frame on the same thread by the clock: what the machine makes of the least there is to do.
    window_run_ms, window_cpu_ms
        Each time that the window's thread worked for us, likewise.
    frames_per_s_off, frames_per_s_on
        Median over the turns.
    writes_off, writes_on
        Documents written while the scan ran, Nion Swift's own too.
    leaks
        What Nion's leak checks and a look at the threads said; empty where nothing is left.
    """

    side_px: int
    frames: int
    answered: int
    callback_ms: list[float]
    callback_cpu_ms: list[float]
    copy_ms: list[float]
    window_run_ms: list[float]
    window_cpu_ms: list[float]
    frames_per_s_off: float
    frames_per_s_on: float
    writes_off: int
    writes_on: int
    documents_made: int
    cycles: int
    leaks: str
    load_average: float

    @property
    def window_ms_per_frame(self) -> float:
        """Time that the window's thread worked for us, over the frames."""
        return sum(self.window_run_ms) / max(1, self.frames)

    @property
    def window_cpu_ms_per_frame(self) -> float:
        """What of it was computing."""
        return sum(self.window_cpu_ms) / max(1, self.frames)

    @property
    def rate_change(self) -> float:
        """Relative change of the scan rate."""
        return self.frames_per_s_on / self.frames_per_s_off - 1

    def lines(self) -> list[Line]:
        """Figures against their targets."""
        clock, computing = (
            np.percentile(self.callback_ms, (50, 99)),
            np.percentile(self.callback_cpu_ms, (50, 99)),
        )
        run50, run99 = np.percentile(self.window_run_ms, (50, 99))
        return [
            Line(
                "callback on the acquisition thread: computing",
                f"p50 {computing[0]:.3f} ms, p99 {computing[1]:.3f} ms of {len(self.callback_cpu_ms)} calls",
                f"p99 ≤ {CALLBACK_MS:g} ms",
                bool(computing[1] <= CALLBACK_MS),
            ),
            Line(
                "callback: by the clock",
                f"p50 {clock[0]:.3f} ms, p99 {clock[1]:.3f} ms; "
                f"a bare copy p99 {np.percentile(self.copy_ms, 99):.3f} ms",
                f"p99 ≤ {CALLBACK_MS:g} ms",
                bool(clock[1] <= CALLBACK_MS),
            ),
            Line(
                "work of the window: computing",
                f"{self.window_cpu_ms_per_frame:.2f} ms a frame",
                f"≤ {WINDOW_MS:g} ms a frame",
                self.window_cpu_ms_per_frame <= WINDOW_MS,
            ),
            Line(
                "work of the window: by the clock",
                f"{self.window_ms_per_frame:.2f} ms a frame; one run p50 {run50:.2f}, p99 {run99:.2f} ms",
                f"≤ {WINDOW_MS:g} ms a frame",
                self.window_ms_per_frame <= WINDOW_MS,
            ),
            Line(
                "scan rate",
                f"{self.frames_per_s_off:.3f} off, {self.frames_per_s_on:.3f} on ({self.rate_change:+.2%})",
                f"within {RATE_CHANGE:.0%}",
                abs(self.rate_change) <= RATE_CHANGE,
            ),
            Line(
                "documents written during the scan",
                f"{self.writes_off} off, {self.writes_on} on, {self.documents_made} made",
                "none a frame",
                self.writes_on - self.writes_off < self.frames // 2 and self.documents_made == 0,
            ),
            Line(f"leaks over {self.cycles} loads and unloads", self.leaks or "none", "none", not self.leaks),
        ]

    def summary(self) -> dict[str, object]:
        """Ready for JSON."""
        lines = self.lines()
        return {
            "side_px": self.side_px,
            "frames": self.frames,
            "answered": self.answered,
            "calls": len(self.callback_ms),
            "callback_ms": _quantiles(self.callback_ms),
            "callback_cpu_ms": _quantiles(self.callback_cpu_ms),
            "copy_ms": _quantiles(self.copy_ms),
            "window_ms_per_frame": round(self.window_ms_per_frame, 4),
            "window_cpu_ms_per_frame": round(self.window_cpu_ms_per_frame, 4),
            "window_run_ms": _quantiles(self.window_run_ms),
            "frames_per_s": {"off": self.frames_per_s_off, "on": self.frames_per_s_on},
            "rate_change": round(self.rate_change, 5),
            "writes": {"off": self.writes_off, "on": self.writes_on},
            "documents_made": self.documents_made,
            "cycles": self.cycles,
            "leaks": self.leaks,
            "load_average": self.load_average,
            "targets": {line.what: line.target for line in lines},
            "met": {line.what: line.met for line in lines},
        }


def _quantiles(values: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}
