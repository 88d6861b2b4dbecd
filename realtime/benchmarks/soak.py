"""Frames at a steady rate for long, and whether memory, files, threads and latencies stay as they are.

Behind `stemctx benchmark soak`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from realtime.benchmarks.frames import RenderedField
from realtime.client import DefectClient
from realtime.client.supervisor import LocalServer
from realtime.recording.recorder import FrameRecorder
from realtime.watching.telemetry import process_status
from stemctx_core.errors import ServerUnavailable
from stemctx_core.results import FrameResult

#: Frames that are rendered beforehand and sent again and again, there and back, as a field that drifts to and fro.
RENDERED: Final = 48
#: The part of the time, at the start, that slopes leave out: caches fill and the allocator settles.
SETTLING: Final = 0.2
_MIB: Final = 1024 * 1024


class SoakPlan(msgspec.Struct, frozen=True):
    """What is asked of a server.

    Attributes
    ----------
    sample_s
        Between two looks at it.
    record
        Where to record meanwhile, or None.
    """

    minutes: float = 30.0
    rate_hz: float = 20.0
    side_px: int = 256
    threads: int | None = None
    seed: int = 0
    sample_s: float = 10.0
    record: Path | None = None


class Sample(msgspec.Struct, frozen=True):
    """One look at server and client; latencies and counts are of the time since the look before.

    Attributes
    ----------
    seconds
        Since the start.
    latency_p50_ms, latency_p99_ms
        From handing a frame over to its answer; None without answers.
    replaced
        Overwritten by a newer frame before they were sent.
    """

    seconds: float
    server_memory_mib: float
    server_files: int
    server_threads: int
    client_memory_mib: float
    client_files: int
    client_threads: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    answered: int
    replaced: int
    errors: int


class _Latencies:
    """Filled on the client's thread, emptied at every look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: list[float] = []
        self.refused = 0

    def answered(self, result: FrameResult, latency_ms: float) -> None:
        with self._lock:
            self._values.append(latency_ms)
            self.refused += result.refusal is not None

    def take(self) -> list[float]:
        with self._lock:
            taken, self._values = self._values, []
            return taken


def soak(plan: SoakPlan, tell: Callable[[Sample], None] = lambda _: None) -> dict[str, Any]:
    """Run a server of its own for as long as the plan says, and report.

    Parameters
    ----------
    tell
        Called with every sample.

    Returns
    -------
    dict
        Ready for JSON; keys as `report` gives them.

    Raises
    ------
    ServerUnavailable
        No server started, or none of the frames was answered.
    """
    field = RenderedField(plan.side_px, plan.seed)
    frames = [field.frame(number) for number in range(RENDERED)]
    latencies, samples = _Latencies(), []
    with ExitStack() as open_now:
        server = open_now.enter_context(LocalServer(threads=plan.threads))
        recorder = open_now.enter_context(FrameRecorder(plan.record, server.address)) if plan.record else None
        client = open_now.enter_context(
            DefectClient(server.address, on_result=latencies.answered, recorder=recorder)
        )
        client.analyze(frames[0], field.context, field.identity(0), timeout_s=60.0)
        start = time.monotonic()
        counted, look_s, number = client.counters, plan.sample_s, 0
        while (now := time.monotonic() - start) < plan.minutes * 60:
            there_and_back = number % (2 * RENDERED)
            frame = frames[min(there_and_back, 2 * RENDERED - 1 - there_and_back)]
            client.submit(frame, field.context, field.identity(number))
            number += 1
            if now >= look_s:
                before, counted, look_s = counted, client.counters, look_s + plan.sample_s
                samples.append(_look(now, server, latencies.take(), before, counted))
                tell(samples[-1])
            # A late frame does not hurry the ones after it.
            time.sleep(max(0.0, start + number / plan.rate_hz - time.monotonic()))
        restarts, hello, answered = server.restarts, client.server, client.counters.answered
        client.close()
        if recorder is not None:
            recorder.close()
        recording = recorder.status if recorder else None
    if not answered or hello is None:
        raise ServerUnavailable("Not one frame was answered. Try 'stemctx benchmark frame' first.")
    more = {
        "restarts": restarts,
        "refused": latencies.refused,
        "engine": hello.engine.name,
        "recorded": None if recording is None else {"written": recording.written, "lost": recording.lost},
    }
    return report(plan, samples) | more


def report(plan: SoakPlan, samples: list[Sample]) -> dict[str, Any]:
    """What the samples come to.

    Returns
    -------
    dict
        ``plan``; ``slopes``, each per hour with its standard error, least squares over the samples after the first
        fifth of the time; ``latency_p99_ms`` of the first and last third of those (medians over samples) and their
        ratio; ``counts``; ``samples``.
    """
    settled = [s for s in samples if s.seconds >= SETTLING * plan.minutes * 60]
    hours = np.array([s.seconds for s in settled]) / 3600
    watched = {
        "server_memory_mib": [s.server_memory_mib for s in settled],
        "client_memory_mib": [s.client_memory_mib for s in settled],
        "server_files": [s.server_files for s in settled],
        "client_files": [s.client_files for s in settled],
        "server_threads": [s.server_threads for s in settled],
        "client_threads": [s.client_threads for s in settled],
    }
    p99 = [s.latency_p99_ms for s in settled]
    third = max(1, len(p99) // 3)
    first, last = (_median(part) for part in (p99[:third], p99[-third:]))
    return {
        "plan": msgspec.to_builtins(plan, enc_hook=str),
        "slopes": {name: slope(hours, np.array(values, float)) for name, values in watched.items()},
        "latency_p99_ms": {
            "first_third": first,
            "last_third": last,
            "ratio": last / first if first and last else None,
        },
        "latency_p50_ms": _median([s.latency_p50_ms for s in settled]),
        "counts": {name: sum(getattr(s, name) for s in samples) for name in ("answered", "replaced", "errors")},
        "samples": [msgspec.to_builtins(s) for s in samples],
    }


def slope(hours: Any, values: Any) -> dict[str, float | None]:
    """Least-squares slope per hour, its standard error, and smallest and largest value; None where too few."""
    if len(values) < 3:
        return {"per_hour": None, "standard_error": None, "smallest": None, "largest": None}
    centred = hours - hours.mean()
    per_hour = float(centred @ values / (centred @ centred))
    rest = values - values.mean() - per_hour * centred
    error = float(np.sqrt(rest @ rest / (len(values) - 2) / (centred @ centred)))
    return {
        "per_hour": per_hour, "standard_error": error, "smallest": float(values.min()), "largest": float(values.max())
    }  # fmt: skip


def _look(seconds: float, server: LocalServer, latencies: list[float], before: Any, now: Any) -> Sample:
    own, served = process_status(), process_status(server.pid)
    p50, p99 = np.percentile(latencies, [50, 99]).tolist() if latencies else (None, None)
    return Sample(
        seconds=seconds,
        server_memory_mib=served.memory_bytes / _MIB,
        server_files=served.open_files,
        server_threads=served.threads,
        client_memory_mib=own.memory_bytes / _MIB,
        client_files=own.open_files,
        client_threads=own.threads,
        latency_p50_ms=p50,
        latency_p99_ms=p99,
        answered=now.answered - before.answered,
        replaced=now.replaced - before.replaced,
        errors=now.errors - before.errors,
    )


def _median(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None
