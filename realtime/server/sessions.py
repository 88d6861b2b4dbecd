"""Who is served: one record a client, its newest waiting request, and whose turn is next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from realtime.server.assembly import FrameAssembly
from realtime.server.pipeline import FramePipeline, PipelineFactory
from realtime.wire.codec import Arrays
from realtime.wire.messages import FrameRequest, PatchesRequest, RowsRequest, Status, WireError

#: Sessions of one connection, or of one key: a peer that invents sessions must not lock the others out.
_MOST_OF_A_SENDER: Final = 8


@dataclass(frozen=True)
class Job:
    """A request that waits for the worker.

    Attributes
    ----------
    peer
        ZeroMQ identity to answer to.
    received_ns
        Server's monotonic clock.
    """

    peer: bytes
    request: FrameRequest | RowsRequest | PatchesRequest
    arrays: Arrays
    received_ns: int
    pipeline: FramePipeline

    def is_stale(self, now_ns: int) -> bool:
        """Whether it waited beyond the deadline that its sender set."""
        deadline = self.request.deadline_ms
        return deadline is not None and now_ns - self.received_ns > deadline * 1e6


@dataclass
class Session:
    """One client; it survives a reconnection, since it goes by the client's own session id."""

    pipeline: FramePipeline
    last_seen_ns: int
    sender: bytes = b""
    waiting: Job | None = None
    running: Job | None = None
    cancelled: set[int] = field(default_factory=set)
    assembly: FrameAssembly = field(default_factory=FrameAssembly)

    @property
    def under_way(self) -> int:
        """Requests that wait or are computed."""
        return (self.waiting is not None) + (self.running is not None)


class Sessions:
    """All clients, in the order in which their turn comes.

    Parameters
    ----------
    pipeline
        Makes the pipeline of a new client.
    most
        Clients at a time.
    idle_s
        A client that was silent so long, and has nothing under way, is forgotten.
    """

    def __init__(self, pipeline: PipelineFactory, most: int, idle_s: float = 30.0) -> None:
        self._pipeline = pipeline
        self._most = most
        self._idle_ns = int(idle_s * 1e9)
        self._by_id: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def seen(self, session_id: bytes, now_ns: int, sender: bytes = b"") -> Session:
        """Find a client or admit it; raise `WireError` where there are too many, in all or of one sender."""
        session = self._by_id.get(session_id)
        if session is None:
            self.forget_idle(now_ns)
            if len(self._by_id) >= self._most:
                raise WireError(Status.BUSY, f"This server already serves {self._most} clients. Close one.")
            if sum(s.sender == sender for s in self._by_id.values()) >= _MOST_OF_A_SENDER:
                words = f"This connection or key has {_MOST_OF_A_SENDER} sessions already. Close one."
                raise WireError(Status.BUSY, words)
            session = self._by_id[session_id] = Session(self._pipeline(), now_ns)
        session.last_seen_ns, session.sender = now_ns, sender
        return session

    def forget(self, session_id: bytes) -> None:
        """Free what a client holds; a job of it that is running finishes unheard."""
        self._by_id.pop(session_id, None)

    def forget_idle(self, now_ns: int) -> None:
        """Free the clients that went away without a word."""
        for session_id, session in list(self._by_id.items()):
            if session.running is None and now_ns - session.last_seen_ns > self._idle_ns:
                del self._by_id[session_id]

    def queue_depth(self) -> int:
        """Requests that wait, of all clients."""
        return sum(s.waiting is not None for s in self._by_id.values())

    def next_job(self) -> Job | None:
        """Take the waiting request of the client that was served longest ago."""
        for session_id, session in self._by_id.items():
            if session.waiting is not None and session.running is None:
                job, session.waiting, session.running = session.waiting, None, session.waiting
                self._by_id[session_id] = self._by_id.pop(session_id)
                return job
        return None

    def take_waiting(self) -> list[Job]:
        """Take everything that waits, for a server that ends."""
        jobs = [session.waiting for session in self._by_id.values() if session.waiting is not None]
        for session in self._by_id.values():
            session.waiting = None
        return jobs

    def finished(self, job: Job) -> bool:
        """Note that a job is done; say whether its client still wants the answer."""
        session = self._by_id.get(job.request.session)
        if session is None:
            return False
        if session.running is job:
            session.running = None
        if job.request.id in session.cancelled:
            session.cancelled.discard(job.request.id)
            return False
        return True

    def cancel(self, session: Session, target: int) -> Job | None:
        """Take back a waiting request, or mark a running one as unwanted."""
        if session.waiting is not None and session.waiting.request.id == target:
            job, session.waiting = session.waiting, None
            return job
        if session.running is not None and session.running.request.id == target:
            session.cancelled.add(target)
        return None
