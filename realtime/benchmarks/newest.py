"""What the client's mailbox promises, measured: frames offered faster than a server takes them.

``python -m realtime.benchmarks.newest --takes-ms 80 --port 0`` is the server: it judges nothing and takes that long.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any, Final

import msgspec
import numpy as np

from realtime.client import ClientState, DefectClient
from realtime.client.states import AgeLimits, ClientCounters
from realtime.client.supervisor import LocalServer
from realtime.server.launch import parsed, serve
from realtime.wire.codec import AnyArray
from stemctx_core.context import ImagingContext, Known, Source
from stemctx_core.errors import ServerUnavailable
from stemctx_core.interpreter import python
from stemctx_core.results import EngineInfo, FrameIdentity, FrameResult, Refusal, SiteTable

_ASK_S: Final = 0.25
_PATIENCE_S: Final = 30.0


class MailboxPlan(msgspec.Struct, frozen=True):
    """What is offered to what.

    Attributes
    ----------
    frames_per_s, seconds
        Offered, and for how long.
    takes_ms
        How long the server takes over a frame.
    side_px
        Of the square frames, in float32.
    age_limit_ms
        Answers older than this are dropped and counted instead of being handed over.
    """

    frames_per_s: float = 30.0
    seconds: float = 10.0
    takes_ms: float = 80.0
    side_px: int = 512
    age_limit_ms: float = 150.0


@dataclasses.dataclass(frozen=True)
class MailboxFigures:
    """What came of it.

    Attributes
    ----------
    counters
        Of the client, after the last frame.
    ages_ms
        From the last row of a frame to the moment its answer is handed over, of every answer, in their order.
    behind_ms
        How late the last frame was offered: a machine that is busy offers fewer a second than asked for.
    most_under_way, most_waiting
        Requests inside the server at any time that it was asked: of this client, and waiting of all.
    """

    counters: ClientCounters
    ages_ms: list[float]
    behind_ms: float
    most_under_way: int
    most_waiting: int

    @property
    def unaccounted(self) -> int:
        """Frames that were submitted and are in no counter: none, if the client keeps its word."""
        c = self.counters
        return c.submitted - c.answered - c.replaced - c.dropped - c.errors

    def age_ms(self, fraction: float) -> float:
        """Age of the answer below which this fraction lies."""
        return float(np.quantile(self.ages_ms, fraction)) if self.ages_ms else 0.0


def measure(plan: MailboxPlan) -> MailboxFigures:
    """Offer frames to a server process that takes a fixed time over each."""
    command = [python(), "-m", "realtime.benchmarks.newest", "--takes-ms", str(plan.takes_ms)]
    ages: list[float] = []
    limits = AgeLimits(answer_s=plan.age_limit_ms / 1e3, discard_s=plan.age_limit_ms / 1e3)
    image = np.zeros((plan.side_px, plan.side_px), np.float32)
    context, count = _context(), max(1, round(plan.frames_per_s * plan.seconds))
    with (
        LocalServer(command=command) as server,
        DefectClient(
            server.address, on_result=lambda _, age_ms: ages.append(age_ms), age_limits=limits
        ) as client,
    ):
        _until(lambda: client.state is ClientState.LIVE, "the server did not answer")
        start = asked = time.monotonic()
        under_way, waiting = [0], [0]
        late = 0.0
        for number in range(count):
            late = time.monotonic() - start - number / plan.frames_per_s
            time.sleep(max(0.0, -late))
            client.submit(image, context, FrameIdentity("benchmark", number))
            if time.monotonic() - asked > _ASK_S:
                asked = time.monotonic()
                status = client.status(_PATIENCE_S)
                under_way.append(status.under_way)
                waiting.append(status.queue_depth)
        _until(lambda: _settled(client.counters), "the last frames were not answered")
        return MailboxFigures(client.counters, ages, max(0.0, late) * 1e3, max(under_way), max(waiting))


def _settled(c: ClientCounters) -> bool:
    return c.submitted == c.answered + c.replaced + c.dropped + c.errors


def _until(condition: Any, otherwise: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise ServerUnavailable(f"The benchmark ended early: {otherwise}. Run it on an idle machine.")
        time.sleep(0.005)


def _context() -> ImagingContext:
    def here(value: float) -> Known:
        return Known(value, Source.USER, "benchmark")

    return ImagingContext("WSe2", ("V",), here(80), here(30), here(70), here(200), here(0.2))


class Waiting:
    """Takes a fixed time over every frame, and refuses it."""

    model_name, model_sha256 = "none", ""
    engine_info = EngineInfo("none", "it only waits")

    def __init__(self, takes_ms: float) -> None:
        self._takes_s = takes_ms / 1e3

    def analyze(
        self, image: AnyArray, context: ImagingContext, frame: FrameIdentity | None = None
    ) -> FrameResult:
        """Wait."""
        time.sleep(self._takes_s)
        candidates = context.candidates
        refusal = Refusal("benchmark", "This server judges nothing.", "Use 'stemctx serve'.")
        return FrameResult(
            frame or FrameIdentity(), context, candidates, SiteTable.empty(len(candidates)), refusal=refusal
        )


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser("python -m realtime.benchmarks.newest", add_help=False)
    parser.add_argument("--takes-ms", type=float, required=True)
    own, others = parser.parse_known_args()

    def ready(server: Any) -> None:
        sys.stdout.write(f"READY {server.port}\n")
        sys.stdout.flush()

    serve(parsed(others), ready, lambda _: Waiting(own.takes_ms))


if __name__ == "__main__":
    main()
