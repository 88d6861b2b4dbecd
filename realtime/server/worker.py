"""The one thread that judges frames; it talks to the server's loop through a slot and a wake-up."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass

import zmq

from realtime.server.pipeline import PatchesUnsupported
from realtime.server.sessions import Job
from realtime.wire.codec import AnyArray
from realtime.wire.messages import PatchesRequest, Status
from stemctx_core.contrast.patches import CutPatches
from stemctx_core.results import FrameResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a job ended: a result, or a status with its text."""

    job: Job
    result: FrameResult | None
    status: Status
    message: str
    started_ns: int
    ended_ns: int


class Worker:
    """Runs one job at a time.

    Parameters
    ----------
    context
        The server's ZeroMQ context.
    address
        ``inproc://`` address of the server's wake-up socket, bound already.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._context, self._address = context, address
        self._thread = threading.Thread(target=self._loop, name="stemctx-worker", daemon=True)
        self._thread.start()
        self.busy = False
        self._began_ns = 0

    def start(self, job: Job) -> None:
        """Begin a job; only while not `busy`."""
        self.busy, self._began_ns = True, time.monotonic_ns()
        self._jobs.put(job)

    def outcome(self) -> Outcome | None:
        """Take the outcome of the job that ended, if one did."""
        try:
            outcome = self._outcomes.get_nowait()
        except queue.Empty:
            return None
        self.busy = False
        return outcome

    def seconds_on_it(self, now_ns: int) -> float:
        """How long the job under way has taken so far; 0 without one."""
        return (now_ns - self._began_ns) / 1e9 if self.busy else 0.0

    def close(self, timeout_s: float) -> bool:
        """Finish the job under way; say whether the thread ended in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        wake = self._context.socket(zmq.PAIR)
        wake.setsockopt(zmq.LINGER, 0)
        wake.connect(self._address)
        try:
            while (job := self._jobs.get()) is not None:
                self._outcomes.put(_done(job))
                del job  # its arrays are as large as a frame
                wake.send(b"")
        finally:
            wake.close()


def _done(job: Job) -> Outcome:
    started = time.monotonic_ns()
    result, status, message = None, Status.OK, ""
    if job.is_stale(started):
        status, message = Status.STALE, "The frame waited beyond its deadline."
    else:
        try:
            result = _judged(job)
        except PatchesUnsupported:
            status, message = Status.UNSUPPORTED, "This server takes frames, not patches. Send the frame."
        except Exception as error:  # whatever a model does, the server goes on
            logger.exception(
                "frame %s of scan %s failed", job.request.frame.frame_index, job.request.frame.scan_id
            )
            status = Status.MODEL_ERROR
            message = f"The model failed on this frame ({type(error).__name__}: {error}). See the server's log."
    return Outcome(job, result, status, message, started, time.monotonic_ns())


def _judged(job: Job) -> FrameResult:
    request, arrays = job.request, job.arrays
    if isinstance(request, PatchesRequest):
        return job.pipeline.process_patches(CutPatches(**arrays), request.context, request.frame)
    image: AnyArray = arrays["image"]
    return job.pipeline.process(image, request.context, request.frame)
