"""Frames and an analyzer with known answers, small and real; also a server process that serves it.

``python -m tests.realtime.support --port 0 --parent-pipe`` has the manners of ``python -m realtime.server``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from realtime.server import DefectServer
from realtime.server.endpoint import Endpoint
from realtime.server.launch import parsed, serve
from realtime.wire.limits import Limits
from stemctx_core.chemistry.classes import Sublattice
from stemctx_core.context import ImagingContext, Known, Missing, Source
from stemctx_core.results import (
    DECISIONS,
    CalibrationSummary,
    EngineInfo,
    FrameIdentity,
    FrameResult,
    Refusal,
    SiteTable,
)

#: How long a test waits for what has to come: a machine that has much else to do is slow, and no test is about that.
PATIENCE_S = 60.0

#: A frame with this in its first pixel makes the analyzer sleep, raise, or end the process.
SLEEP, RAISE, DIE = 7001.0, 7002.0, 7003.0


def context(host: str = "WSe2", dopants: tuple[str, ...] = ("V",)) -> ImagingContext:
    return ImagingContext(
        host=host,
        dopants=dopants,
        high_tension_kv=Known(80.0, Source.INSTRUMENT, "EHT"),
        convergence_semi_angle_mrad=Known(30.0, Source.USER),
        inner_mrad=Known(70.0, Source.FILE, "tag"),
        outer_mrad=Known(200.0, Source.FRAME),
        dose_e_per_angstrom2=Missing("no current"),
        channel="HAADF",
    )


def table(count: int, given: ImagingContext, seed: int = 0) -> SiteTable:
    rng = np.random.default_rng(seed)
    candidates = given.candidates
    posterior = rng.dirichlet(np.full(len(candidates), 0.3), count).astype(np.float32)
    best = posterior.argmax(axis=1).astype(np.int16)
    metal = np.array([c.sublattice is Sublattice.METAL for c in candidates])
    return SiteTable(
        y_px=rng.uniform(0, 64, count).astype(np.float32),
        x_px=rng.uniform(0, 64, count).astype(np.float32),
        sublattice=(~metal[best]).astype(np.int8),
        posterior=posterior,
        best=best,
        decision=rng.integers(0, len(DECISIONS), count).astype(np.int8),
        reason=rng.integers(0, 2, count).astype(np.int16),
    )


def result(
    count: int = 20, given: ImagingContext | None = None, frame: FrameIdentity | None = None, seed: int = 0
) -> FrameResult:
    given = given or context()
    return FrameResult(
        frame=frame or FrameIdentity("scan-1", 3, 64, (64, 64)),
        context=given,
        candidates=given.candidates,
        sites=table(count, given, seed),
        reasons=("", "edge: the patch is cut by the border of the frame"),
        warnings=("No pixel size was given; 0.2500 Å follows from the lattice.",),
        calibration=CalibrationSummary(0.25, 3.0, 0.01, 0.4, 1e5, 0.8, 0.78, 0.05, 0.04),
        engine=EngineInfo("a test", "nothing to choose from"),
        model="known answers 000000000000",
        timing_ms={"sites": 1.5, "posterior": 2.0},
        frames_accumulated=2,
    )


def refused() -> FrameResult:
    given = context()
    return FrameResult(
        frame=FrameIdentity("scan-2", 0, 8, (8, 8)),
        context=given,
        candidates=given.candidates,
        sites=SiteTable.empty(len(given.candidates)),
        refusal=Refusal("no_lattice", "No lattice was found.", "Is this the material?"),
    )


class KnownAnswers:
    """Says how many sites the mean of the frame asks for; sleeps, raises or dies when the first pixel says so."""

    engine_info = EngineInfo("a test", "nothing to choose from")

    def __init__(self, sleep_s: float = 0.0, model_sha256: str = "0" * 64) -> None:
        self.sleep_s = sleep_s
        self.model_sha256 = model_sha256
        self.model_name = f"known answers {model_sha256[:12]}"
        self.seen: list[FrameIdentity] = []

    def analyze(self, image: Any, given: ImagingContext, frame: FrameIdentity | None = None) -> FrameResult:
        self.seen.append(frame or FrameIdentity())
        first = float(image[0, 0])
        if first == RAISE:
            raise ArithmeticError("asked to")
        if first == DIE:
            os._exit(70)
        time.sleep(self.sleep_s if first != SLEEP else 3600.0)
        judged = result(int(image[-1, -1]), given, frame, seed=int(image[-1, -1]))
        return dataclasses.replace(judged, model=self.model_name)


class Held(KnownAnswers):
    """Is at work on its frames until it is let go, so that what a test does meanwhile happens meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def analyze(self, image: Any, given: ImagingContext, frame: FrameIdentity | None = None) -> FrameResult:
        judged = super().analyze(image, given, frame)
        assert self.go.wait(PATIENCE_S), "the test never let it go"
        return judged


@contextlib.contextmanager
def serving(
    analyzer: Any | None = None, limits: Limits | None = None, port: int = 0, **options: Any
) -> Iterator[DefectServer]:
    """Serve in a thread of this process."""
    server = DefectServer(analyzer or KnownAnswers(), Endpoint(port=port, limits=limits), **options)
    thread = threading.Thread(target=server.serve, name="stemctx-test-server")
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port where nobody listens, and which no other program is given meanwhile: only a server that asks for it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def image(sites: int = 5, shape: tuple[int, int] = (64, 64), first: float = 0.0) -> Any:
    frame = np.zeros(shape, np.float32)
    frame[0, 0], frame[-1, -1] = first, sites
    return frame


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


def main() -> None:
    settings = parsed(sys.argv[1:])
    sleep_s = float(os.environ.get("STEMCTX_TEST_SLEEP_S", "0"))
    analyzer = KnownAnswers(sleep_s, os.environ.get("STEMCTX_TEST_SHA", "0" * 64))
    serve(settings, lambda server: print(f"READY {server.port}", flush=True), lambda _: analyzer)


if __name__ == "__main__":
    main()
