"""How long a frame takes from the client's hands to its answer, stage by stage, beside the obvious alternative.

A real server process and real clients on loopback. A first frame is the first of a client of its own, on a server
that is warm; a tracked frame is one of a client whose last frame was of the same field. They and the alternative take turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from realtime.benchmarks.alternative import eager_net, judge
from realtime.benchmarks.frames import PIXEL_ANGSTROM, RenderedField
from realtime.client import DefectClient
from realtime.client.states import ClientState
from realtime.client.supervisor import LocalServer
from realtime.wire import protocol
from realtime.wire.limits import SESSION_BYTES
from realtime.wire.messages import FrameRequest
from stemctx_core.chemistry.classes import Role
from stemctx_core.classifier.classifier import load_bundle
from stemctx_core.errors import ServerUnavailable, StemctxError
from stemctx_core.results import Decision, FrameResult

#: In the order in which a frame goes through them.
STAGES: Final = (
    "copy and encode", "transport and queue", "sites", "patches", "calibration", "posterior", "decision", "reply",
)  # fmt: skip
#: What the alternative does as well; it neither calibrates nor decides, and has nothing sent to it.
SAME_WORK: Final = ("sites", "patches", "posterior")
#: How near a site or a peak must be to a vacant site to have found it.
_FOUND_ANGSTROM: Final = 0.6
_FRAME_S: Final = 120.0
#: After so long the threads of PyTorch have stopped looking for more work.
_ASLEEP_S: Final = 0.01
_MEBIBYTE: Final = 1024.0**2
_VACANCIES: Final = frozenset({Role.METAL_VACANCY, Role.CHALCOGEN_VACANCY, Role.CHALCOGEN_DIVACANCY})


@dataclass(frozen=True)
class FramePlan:
    """What is measured.

    Attributes
    ----------
    sizes
        Pixels along each side.
    threads
        Of the server, and of the alternative.
    repeats
        Frames of each kind.
    """

    sizes: Sequence[int] = (512, 1024, 2048)
    threads: int = 2
    repeats: int = 20
    seed: int = 0


def measure(plan: FramePlan, told: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Figures of every size, ready for JSON.

    Parameters
    ----------
    told
        Called with what is being done.
    """
    sizes = []
    with _threads(plan.threads), LocalServer(threads=plan.threads) as server:
        engine = None
        for side in plan.sizes:
            field = RenderedField(side, plan.seed)
            measured, last = _size(server, field, plan, told)
            sizes.append(measured)
            engine = last.engine
    assert engine is not None
    return {
        "threads": plan.threads,
        "repeats": plan.repeats,
        "seed": plan.seed,
        "engine": engine.name,
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in psutil.getloadavg()],
        "sizes": sizes,
    }


def _size(
    server: LocalServer, field: RenderedField, plan: FramePlan, told: Callable[[str], None]
) -> tuple[dict[str, Any], FrameResult]:
    name = f"{field.side_px} × {field.side_px}"
    told(f"{name}: rendering")
    images = [field.frame(number) for number in range(plan.repeats + 1)]
    told(f"{name}: frames")
    memory = _Memory(server)
    net = eager_net(load_bundle(), field.scene, plan.threads)
    first, tracked, alternative = [], [], []
    with _client(server) as client:
        _timed(client, field, images[0], 0)  # whatever is compiled or kept for these conditions
        if net is not None:
            judge(images[0], net)
        # In turn, so that a minute in which the machine is slow is one for all of them.
        for number in range(1, len(images)):
            with _client(server) as stranger:
                first.append(_timed(stranger, field, images[number - 1], 0))
            memory.look()
            tracked.append(_timed(client, field, images[number], number))
            memory.look()
            if net is not None:
                alternative.append(judge(images[number], net))
                time.sleep(_ASLEEP_S)
        reply = client.status().stages.get("reply")
    result = tracked[-1].result
    reply_ms = reply.p50_ms if reply else 0.0
    measured: dict[str, Any] = {
        "side_px": field.side_px,
        "sites": len(result.sites),
        "first_frame": _figures(first, reply_ms),
        "tracked_frame": _figures(tracked, reply_ms),
        "server_memory_mib": memory.figures(),
    }
    vacant = field.vacant_px(plan.repeats)
    measured["vacant_sites"] = {"true": len(vacant), **_vacant(result, vacant)}
    if alternative:
        measured["alternative"] = _alternative(alternative)
        measured["vacant_sites"]["found_by_peaks"] = _near(alternative[-1][1], vacant)
        total = measured["alternative"]["total_ms"]["p50"]
        for kind in ("first_frame", "tracked_frame"):
            ours = measured[kind]
            same = sum(ours["stages_ms"][name]["p50"] for name in SAME_WORK)
            ours["times_faster"] = round(total / ours["total_ms"]["p50"], 2)
            ours["same_work_times_faster"] = round(total / same, 2)
    return measured, result


@dataclass(frozen=True)
class _Timed:
    """One frame: its answer, and milliseconds at the client, some of them to copy and encode it."""

    result: FrameResult
    total_ms: float
    encode_ms: float

    def stages(self, reply_ms: float) -> dict[str, float]:
        """Milliseconds of each of `STAGES`; what nothing else explains is the way there."""
        inside = {name: self.result.timing_ms.get(name, 0.0) for name in STAGES[2:-1]}
        rest = self.total_ms - self.encode_ms - reply_ms - sum(inside.values())
        return {STAGES[0]: self.encode_ms, STAGES[1]: max(rest, 0.0), **inside, STAGES[-1]: reply_ms}


def _timed(client: DefectClient, field: RenderedField, image: NDArray[np.float32], number: int) -> _Timed:
    identity, context = field.identity(number), field.context
    request = FrameRequest(session=bytes(SESSION_BYTES), id=0, t_ns=0, context=context, frame=identity)
    before = time.perf_counter_ns()
    protocol.encode(request, {"image": image})  # as the client does it inside
    started = time.perf_counter_ns()
    copied = image.copy()  # as the tap does it
    sent = time.perf_counter_ns()
    result = client.analyze(copied, context, identity, timeout_s=_FRAME_S)
    ended = time.perf_counter_ns()
    if result.refusal is not None:
        raise StemctxError(f"The benchmark's frame was refused: {result.refusal.reason} {result.refusal.fix}")
    return _Timed(result, (ended - started) / 1e6, (sent - before) / 1e6)


def _figures(timed: Sequence[_Timed], reply_ms: float) -> dict[str, Any]:
    stages = [t.stages(reply_ms) for t in timed]
    return {
        "total_ms": _quantiles([t.total_ms for t in timed]),
        "stages_ms": {name: _quantiles([s[name] for s in stages]) for name in STAGES},
    }


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(milliseconds, (0.5, 0.95))
    return {"p50": round(float(low), 2), "p95": round(float(high), 2)}


def _alternative(runs: Sequence[tuple[dict[str, float], NDArray[Any]]]) -> dict[str, Any]:
    """Figures of the alternative."""
    stages = [run[0] for run in runs]
    return {
        "total_ms": _quantiles([sum(s.values()) for s in stages]),
        "stages_ms": {name: _quantiles([s[name] for s in stages]) for name in stages[0]},
        "peaks": len(runs[-1][1]),
    }


def _vacant(result: FrameResult, vacant: NDArray[np.float64]) -> dict[str, int]:
    """How many vacant sites the answer has a site at, and how many of them it flags as a vacancy."""
    places = np.stack([result.sites.y_px, result.sites.x_px], axis=1)
    flagged = [int(i) for i in result.where(Decision.FLAG) if result.role(int(i)) in _VACANCIES]
    return {"found_by_stemctx": _near(places, vacant), "flagged_by_stemctx": _near(places[flagged], vacant)}


def _near(places: NDArray[Any], vacant: NDArray[np.float64]) -> int:
    if not len(places) or not len(vacant):
        return 0
    distance, _ = cKDTree(places).query(vacant)
    return int(np.count_nonzero(distance * PIXEL_ANGSTROM < _FOUND_ANGSTROM))


class _Memory:
    """Resident memory of the server after frames."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._seen: list[float] = []

    def look(self) -> None:
        """Note how much it is now."""
        self._seen.append(psutil.Process(self._server.pid).memory_info().rss / _MEBIBYTE)

    def figures(self) -> dict[str, float]:
        """Last and largest value."""
        return {"last": round(self._seen[-1], 1), "largest": round(max(self._seen), 1)}


@contextmanager
def _client(server: LocalServer) -> Iterator[DefectClient]:
    """A client that knows its server already."""
    with DefectClient(server.address, timeout_s=_FRAME_S) as client:
        end = time.monotonic() + 10
        while client.state is not ClientState.LIVE:
            if time.monotonic() > end:
                raise ServerUnavailable(f"The benchmark's server does not answer: {client.reason}")
            time.sleep(0.002)
        yield client


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compiled loops of a server that is started here have so many threads."""
    before = os.environ.get("NUMBA_NUM_THREADS")
    os.environ["NUMBA_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["NUMBA_NUM_THREADS"]
        else:
            os.environ["NUMBA_NUM_THREADS"] = before
