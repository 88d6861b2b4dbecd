"""What waits for the client's I/O thread: one slot that newer frames overwrite, and one for a caller who waits."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from realtime.wire.codec import AnyArray
from realtime.wire.messages import ServerStatus
from stemctx_core.context import ImagingContext
from stemctx_core.results import FrameIdentity, FrameResult


@dataclass
class Ticket:
    """One frame on its way.

    Attributes
    ----------
    since_ns
        Start of the latency, on this process's monotonic clock.
    timeout_s
        How long the answer may take.
    future
        Where a caller waits for the answer; None for live frames.
    id, sent_ns
        Set when it is sent.
    whole
        Whether all its rows must be sent, because the server lacks the earlier ones.
    """

    image: AnyArray
    context: ImagingContext
    frame: FrameIdentity
    timeout_s: float
    since_ns: int = field(default_factory=time.monotonic_ns)
    future: Future[FrameResult] | None = None
    queued_ns: int = field(default_factory=time.monotonic_ns)
    id: int = -1
    sent_ns: int = 0
    whole: bool = False


class Mailbox:
    """Hands frames to the I/O thread without ever making the sender wait.

    Attributes
    ----------
    wake
        Readable when there is something new; the I/O thread polls it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Ticket | None = None
        self._awaited: Ticket | None = None
        self._status: list[Future[ServerStatus]] = []
        self._only_scan: str | None = None
        self.wake, self._bell = socket.socketpair()
        self.wake.setblocking(False)
        self._bell.setblocking(False)

    def put(self, ticket: Ticket) -> Ticket | None:
        """Leave a live frame; give the one that it replaced."""
        with self._lock:
            replaced, self._newest = self._newest, ticket
        self.ring()
        return replaced

    def put_awaited(self, ticket: Ticket) -> None:
        """Leave a frame that a caller waits for; live frames do not replace it."""
        with self._lock:
            self._awaited = ticket
        self.ring()

    def withdraw(self, ticket: Ticket) -> bool:
        """Take back a frame that its caller no longer waits for; say whether it was still here."""
        with self._lock:
            if self._awaited is not ticket:
                return False
            self._awaited = None
            return True

    def drain(self, scan_id: str) -> Ticket | None:
        """Take the live frame out unless it is of this scan, and have the one under way looked at too."""
        with self._lock:
            drained = None
            if self._newest is not None and self._newest.frame.scan_id != scan_id:
                drained, self._newest = self._newest, None
            self._only_scan = scan_id
        self.ring()
        return drained

    def take_drain(self) -> str | None:
        """The scan that alone is wanted from now on, once after `drain`."""
        with self._lock:
            scan_id, self._only_scan = self._only_scan, None
            return scan_id

    def ask_status(self) -> Future[ServerStatus]:
        """Ask for the server's status."""
        future: Future[ServerStatus] = Future()
        with self._lock:
            self._status.append(future)
        self.ring()
        return future

    def take(self) -> Ticket | None:
        """Next frame to send: the awaited one before the live one."""
        with self._lock:
            if self._awaited is not None:
                awaited, self._awaited = self._awaited, None
                return awaited
            newest, self._newest = self._newest, None
            return newest

    def take_status(self) -> list[Future[ServerStatus]]:
        """Everyone who asked for a status."""
        with self._lock:
            asked, self._status = self._status, []
            return asked

    def ring(self) -> None:
        """Wake the I/O thread."""
        # A full buffer means that it is being woken already; a closed one that it has ended.
        with contextlib.suppress(OSError):
            self._bell.send(b"\0")

    def hear(self) -> None:
        """Empty the bell."""
        with contextlib.suppress(BlockingIOError):
            while self.wake.recv(4096):
                pass

    def close(self) -> None:
        """Close the bell."""
        self._bell.close()
        self.wake.close()
