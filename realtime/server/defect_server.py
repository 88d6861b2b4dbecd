"""The inference server: a ROUTER on loopback, one worker, the newest frame of each client."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from realtime.server.endpoint import Endpoint, Incoming
from realtime.server.pipeline import Analyzer, FramePipeline, PipelineFactory
from realtime.server.quota import Quota
from realtime.server.sessions import Job, Session, Sessions
from realtime.server.worker import Outcome, Worker
from realtime.watching.json_logs import about
from realtime.watching.telemetry import Telemetry, process_status
from realtime.wire import protocol
from realtime.wire.messages import (
    AnyRequest,
    Bye,
    Cancel,
    FrameRequest,
    Hello,
    PatchesRequest,
    Reply,
    RowsRequest,
    ServerHello,
    ServerStatus,
    Status,
    StatusRequest,
    WireError,
)
from realtime.wire.protocol import Envelope, Part

logger = logging.getLogger(__name__)

_POLL_MS: Final = 100
_FINISH_S: Final = 3.0
_LAST_WORDS_MS: Final = 200
_ALIVE_NS: Final = 1_000_000_000


class DefectServer:
    """Serves one analyzer to several clients.

    Parameters
    ----------
    analyzer
        What judges frames; used from one thread only.
    endpoint
        Where; closed when `serve` ends.
    pipeline
        Makes the pipeline of a new client; the analyzer alone where left out.
    idle_s
        A client that was silent so long, and has nothing under way, is forgotten with all that is kept for it.

    Attributes
    ----------
    telemetry
        Latencies and counters; may be read from any thread.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        endpoint: Endpoint,
        pipeline: PipelineFactory | None = None,
        idle_s: float = 30.0,
    ) -> None:
        self._analyzer = analyzer
        self._endpoint = endpoint
        self._limits = endpoint.limits
        self._sessions = Sessions(
            pipeline or (lambda: FramePipeline(analyzer)), self._limits.max_clients, idle_s
        )
        self.telemetry = Telemetry()
        self._quota = Quota(self._limits.requests_per_s)
        self._stop = threading.Event()
        self._started_ns = time.monotonic_ns()
        self._worker = Worker(endpoint.context, endpoint.wake_address)
        self._alive: Callable[[], None] = lambda: None
        self._frame_limit_s = 0.0
        self._said_alive_ns = 0

    @property
    def analyzer(self) -> Analyzer:
        """What judges frames."""
        return self._analyzer

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._endpoint.port

    def stop(self) -> None:
        """Ask the loop to end; from any thread or a signal handler."""
        self._stop.set()

    def on_alive(self, call: Callable[[], None], frame_limit_s: float) -> None:
        """Have `call` called every second on the server's thread, unless one frame takes longer than the limit."""
        self._alive, self._frame_limit_s = call, frame_limit_s

    def serve(self) -> bool:
        """Serve until `stop`, then close; say whether the worker ended too.

        It answers `Status.SHUTTING_DOWN` to who still waits, and gives the frame under way three seconds.
        """
        try:
            while not self._stop.is_set():
                if self._endpoint.wait(_POLL_MS):
                    self._receive()
                self._turn()
        finally:
            for job in self._sessions.take_waiting():
                self._refuse(job, Status.SHUTTING_DOWN, "The server is shutting down. Start it again.")
            ended = self._worker.close(_FINISH_S)
            self._turn()
            if ended:
                self._endpoint.close(_LAST_WORDS_MS)
        return ended

    def _receive(self) -> None:
        message = self._endpoint.read()
        self.telemetry.count("messages")
        try:
            if message is None:
                self.telemetry.count("refused_revoked")
            else:
                self._handle(message)
        except Exception:  # one client's message must not end the service of the others
            logger.exception("a message could not be handled")
            self.telemetry.count("faults")

    def _handle(self, message: Incoming) -> None:
        peer, sender, parts = message
        now = time.monotonic_ns()
        try:
            if not self._quota.takes(sender, now):
                raise WireError(
                    Status.BUSY,
                    f"More than {self._limits.requests_per_s:g} requests a second. Wait for each answer.",
                )
            request, arrays = protocol.decode_request(parts, self._limits)
        except WireError as error:
            self.telemetry.count(f"refused_{error.status.name.lower()}")
            if parts and bytes(parts[0][:4]) == protocol.MAGIC:  # a stranger gets no answer
                self._send(peer, protocol.encode_error(protocol.peek(parts), error.status, str(error)))
            return
        if isinstance(request, Bye):
            self._sessions.forget(request.session)
            return
        try:
            session = self._sessions.seen(request.session, now, sender)
            if isinstance(request, FrameRequest | RowsRequest):
                arrays = {"image": session.assembly.take(request, arrays["image"])}
        except WireError as error:
            self.telemetry.count(f"refused_{error.status.name.lower()}")
            self._send(peer, protocol.encode_error(request, error.status, str(error)))
            return
        if isinstance(request, FrameRequest | RowsRequest | PatchesRequest):
            self._accept(session, Job(peer, request, arrays, now, session.pipeline))
        elif isinstance(request, Cancel):
            if (job := self._sessions.cancel(session, request.target)) is not None:
                self._refuse(job, Status.STALE, "It was cancelled.")
        else:
            self._send(peer, self._told(request, session))

    def _accept(self, session: Session, job: Job) -> None:
        self.telemetry.count("frames_received")
        if session.waiting is not None:
            self.telemetry.count("frames_replaced")
            self._refuse(session.waiting, Status.STALE, "A newer frame replaced it.")
        session.waiting = job

    def _turn(self) -> None:
        if (outcome := self._worker.outcome()) is not None:
            self._answer(outcome)
        if not self._worker.busy and not self._stop.is_set() and (job := self._sessions.next_job()) is not None:
            self._worker.start(job)
        now = time.monotonic_ns()
        self._sessions.forget_idle(now)
        if now - self._said_alive_ns > _ALIVE_NS and self._worker.seconds_on_it(now) <= self._frame_limit_s:
            self._said_alive_ns = now
            self._alive()

    def _answer(self, outcome: Outcome) -> None:
        job, t = outcome.job, self.telemetry
        t.time("queue", (outcome.started_ns - job.received_ns) / 1e6)
        wanted = self._sessions.finished(job)
        if outcome.result is None:
            t.count("frames_failed" if outcome.status is Status.MODEL_ERROR else "frames_refused")
            logger.info("frame not answered: %s", outcome.message, extra=about(job.request))
            if wanted:
                self._refuse(job, outcome.status, outcome.message)
            return
        t.time("analyze", (outcome.ended_ns - outcome.started_ns) / 1e6)
        for stage, milliseconds in outcome.result.timing_ms.items():
            t.time(stage, milliseconds)
        if not wanted:
            t.count("frames_unwanted")
            return
        start = time.monotonic_ns()
        try:
            parts = protocol.encode_result(job.request, outcome.result)
        except (WireError, TypeError, NotImplementedError, ValueError) as error:
            logger.exception("a result cannot be sent")
            self._refuse(job, Status.MODEL_ERROR, f"The result cannot be sent: {error}")
            return
        if self._send(job.peer, parts):
            t.count("frames_answered")
        t.time("reply", (time.monotonic_ns() - start) / 1e6)
        logger.info("frame answered", extra=about(job.request, timing_ms=outcome.result.timing_ms))

    def _refuse(self, job: Job, status: Status, message: str) -> None:
        self._send(job.peer, protocol.encode_error(job.request, status, message))

    def _send(self, peer: bytes, parts: list[Part]) -> bool:
        sent = self._endpoint.send(peer, parts)
        if not sent:
            self.telemetry.count("replies_dropped")
        return sent

    def _told(self, request: AnyRequest, session: Session) -> list[Part]:
        body: ServerHello | ServerStatus
        model, sha256, engine = (
            self._analyzer.model_name,
            self._analyzer.model_sha256,
            self._analyzer.engine_info,
        )
        if isinstance(request, Hello):
            body = ServerHello(
                version=_version(), model=model, model_sha256=sha256, engine=engine, limits=self._limits
            )
        else:
            assert isinstance(request, StatusRequest)
            body = ServerStatus(
                uptime_s=(time.monotonic_ns() - self._started_ns) / 1e9,
                model=model,
                model_sha256=sha256,
                engine=engine,
                clients=len(self._sessions),
                queue_depth=self._sessions.queue_depth(),
                under_way=session.under_way,
                process=process_status(),
                counters=self.telemetry.counters(),
                stages=self.telemetry.stages() if request.detail else {},
            )
        echo = Envelope(session=request.session, id=request.id, t_ns=request.t_ns)
        return protocol.encode(Reply(session=echo.session, id=echo.id, t_ns=echo.t_ns, body=body))


def _version() -> str:
    try:
        return importlib.metadata.version("stemctx")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a folder
