"""Latency by stage in fixed logarithmic buckets, counters, and what the process holds; served in the status reply.

Durations are differences of one process's monotonic clock: a step of the wall clock, or another host's, is not in them.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from typing import Final

import psutil

from realtime.wire.messages import ProcessStatus, StageStatus

_PER_DECADE: Final = 8
#: Upper edges in milliseconds, 0.01 ms to 100 s; one more bucket takes what is above.
BUCKET_EDGES_MS: Final = tuple(10 ** (-2 + i / _PER_DECADE) for i in range(7 * _PER_DECADE + 1))
#: Stages come from the analyzer's own timing; a stray name a frame must not fill the memory.
_MOST_NAMES: Final = 64
#: Steps of the analysis by the stage that they are counted as; another step keeps its name.
STAGES: Final = {
    "sites": "find",
    "patches": "cut",
    "calibration": "calibrate",
    "posterior": "infer",
    "decision": "decide",
}


class LatencyHistogram:
    """Counts in buckets that grow by a third: memory stays fixed, a quantile is good to ±15 %.

    Attributes
    ----------
    total_ms
        Sum of all durations.
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKET_EDGES_MS) + 1)
        self._total = 0
        self._max_ms = 0.0
        self.total_ms = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_right(BUCKET_EDGES_MS, milliseconds)] += 1
        self._total += 1
        self.total_ms += milliseconds
        self._max_ms = max(self._max_ms, milliseconds)

    def quantile_ms(self, fraction: float) -> float:
        """Duration below which this fraction lies, as the middle of its bucket; 0 where nothing was counted."""
        wanted, seen = fraction * self._total, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                high = BUCKET_EDGES_MS[min(bucket, len(BUCKET_EDGES_MS) - 1)]
                return float(min(self._max_ms, high * 10 ** (-0.5 / _PER_DECADE)))
        return 0.0

    def status(self, with_counts: bool) -> StageStatus:
        """Its figures for the status reply."""
        return StageStatus(
            count=self._total,
            p50_ms=self.quantile_ms(0.5),
            p95_ms=self.quantile_ms(0.95),
            max_ms=self._max_ms,
            counts=tuple(self._counts) if with_counts else (),
        )


class Telemetry:
    """Histograms and counters of one server; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, LatencyHistogram] = {}
        self._counters: dict[str, int] = {}

    def count(self, name: str, amount: int = 1) -> None:
        """Raise a counter."""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + amount

    def time(self, stage: str, milliseconds: float) -> None:
        """Count the duration of a stage, or of a step of the analysis."""
        stage = STAGES.get(stage, stage)
        with self._lock:
            if stage in self._stages or len(self._stages) < _MOST_NAMES:
                self._stages.setdefault(stage, LatencyHistogram()).add(milliseconds)

    def counters(self) -> dict[str, int]:
        """Counters by name."""
        with self._lock:
            return dict(sorted(self._counters.items()))

    def stages(self, with_counts: bool = True) -> dict[str, StageStatus]:
        """Figures of every stage."""
        with self._lock:
            return {name: h.status(with_counts) for name, h in sorted(self._stages.items())}

    def totals_ms(self) -> dict[str, float]:
        """Duration of every stage, of all frames together."""
        with self._lock:
            return {name: h.total_ms for name, h in self._stages.items()}


def process_status(pid: int | None = None) -> ProcessStatus:
    """What a process holds now; this one where none is named."""
    process = psutil.Process(pid)
    with process.oneshot():
        times = process.cpu_times()
        return ProcessStatus(
            memory_bytes=process.memory_info().rss,
            open_files=process.num_handles() if psutil.WINDOWS else process.num_fds(),
            threads=process.num_threads(),
            cpu_s=times.user + times.system,
        )
