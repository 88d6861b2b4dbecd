"""The client: never makes the scan wait, keeps only the newest frame, and always says how the server is."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self

from realtime.client.answers import Answer
from realtime.client.exchange import Exchange
from realtime.client.mailbox import Mailbox, Ticket
from realtime.client.states import AgeLimits, ClientCounters, ClientState
from realtime.keys.addresses import check_address
from realtime.keys.certificates import ClientKeys
from realtime.wire.codec import AnyArray
from realtime.wire.limits import SESSION_BYTES
from realtime.wire.messages import ServerHello, ServerStatus
from stemctx_core.context import ImagingContext
from stemctx_core.errors import InputError, ServerUnavailable
from stemctx_core.results import FrameIdentity, FrameResult

logger = logging.getLogger(__name__)

__all__ = ["ClientCounters", "ClientState", "DefectClient"]


class Recorder(Protocol):
    """Takes answers; `realtime.recording.recorder.FrameRecorder` is the one that writes them to a file."""

    def record(self, answer: Answer) -> None:
        """Take one at once, without raising."""


OnResult = Callable[[FrameResult, float], None]


class DefectClient:
    """Sends frames to a server and hands results back. Starts connecting at once.

    Parameters
    ----------
    address
        ``tcp://127.0.0.1:47100``.
    on_result
        Called with the result and its latency in milliseconds, on the client's I/O thread; must be quick.
    on_state
        Called with the new state and why, on the I/O thread.
    on_error
        Called with a live frame's identity and why it got no result, on the I/O thread.
    keys
        For a server with keys (`realtime.keys.certificates.load_client_keys`); without them only loopback can be reached.
    timeout_s
        A request without answer for so long makes the server `ClientState.STALE`.
    age_limits
        When a live frame is dropped for having waited, when a result counts as stale, and when it is not handed over.
    recorder
        Keeps every frame that was sent with its answer; its owner closes it after the client.

    Attributes
    ----------
    last_error
        Why the last frame without a result got none.
    """

    def __init__(
        self,
        address: str,
        *,
        on_result: OnResult | None = None,
        on_state: Callable[[ClientState, str], None] | None = None,
        on_error: Callable[[FrameIdentity, str], None] | None = None,
        timeout_s: float = 5.0,
        age_limits: AgeLimits = AgeLimits(),  # noqa: B008  (frozen)
        recorder: Recorder | None = None,
        keys: ClientKeys | None = None,
    ) -> None:
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise InputError(f"A timeout of {timeout_s} s cannot be. Give a positive number of seconds.")
        self.address = check_address(address, with_keys=keys is not None)
        self.keys = keys
        self.timeout_s = timeout_s
        self.age_limits = age_limits
        self.last_error = ""
        self._recorder = recorder
        self._on_result, self._on_state, self._on_error = on_result, on_state, on_error
        self._state, self._reason = ClientState.CONNECTING, f"no server has answered at {self.address} yet"
        self._counters = dict.fromkeys(ClientCounters.__struct_fields__, 0)
        self._lock = threading.Lock()  # counters
        self._one_caller = threading.Lock()
        self._stop = threading.Event()
        self._mailbox = Mailbox()
        self._exchange = Exchange(self, self._mailbox, os.urandom(SESSION_BYTES))
        self._thread = threading.Thread(target=self._run, name="stemctx-client", daemon=True)
        self._thread.start()

    @property
    def state(self) -> ClientState:
        """How the server is."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the state is what it is, in words."""
        return self._reason

    @property
    def counters(self) -> ClientCounters:
        """What became of the frames so far."""
        with self._lock:
            return ClientCounters(**self._counters)

    @property
    def server(self) -> ServerHello | None:
        """Who serves, since the last hello; None before the first."""
        return self._exchange.server

    def submit(
        self, image: AnyArray, context: ImagingContext, frame: FrameIdentity, *, since_ns: int | None = None
    ) -> None:
        """Leave the newest frame; returns at once, and replaces a frame that was not sent yet.

        Parameters
        ----------
        image
            (rows, columns); belongs to the client from now on and must not change any more.
        since_ns
            `time.monotonic_ns` when the last row arrived, for the latency; now where left out.
        """
        if self._stop.is_set():
            return
        ticket = Ticket(image, context, frame, timeout_s=self.timeout_s)
        if since_ns is not None:
            ticket.since_ns = since_ns
        self.count("submitted")
        if self._mailbox.put(ticket) is not None:
            self.count("replaced")

    def is_stale(self, latency_ms: float) -> bool:
        """Whether a result with this latency is older than the bound on age."""
        return latency_ms > self.age_limits.answer_s * 1e3

    def drain(self, scan_id: str) -> None:
        """Drop the live frames, waiting or under way, of every scan but this one; their results will not come."""
        if (ticket := self._mailbox.drain(scan_id)) is not None:
            self.dropped(ticket, "")

    def analyze(
        self,
        image: AnyArray,
        context: ImagingContext,
        frame: FrameIdentity | None = None,
        timeout_s: float | None = None,
    ) -> FrameResult:
        """Send one frame and wait for its result; callers in several threads take turns.

        Where the server is lost meanwhile and comes back in time, the frame is sent once more.

        Raises
        ------
        ServerUnavailable
            No server, no answer in time, or the server was lost with this frame twice.
        ProtocolError
            The server refused the request.
        """
        if threading.current_thread() is self._thread:
            raise InputError("analyze() cannot wait inside a callback of its own client. Use submit().")
        patience = self.timeout_s if timeout_s is None else timeout_s
        future: Future[FrameResult] = Future()
        ticket = Ticket(image, context, frame or FrameIdentity(), future=future, timeout_s=patience)
        end = time.monotonic() + patience
        if not self._one_caller.acquire(timeout=patience):
            raise ServerUnavailable(
                f"{self.address} is still busy with another caller. Wait, or use another client."
            )
        try:
            if self._stop.is_set():
                raise ServerUnavailable("This client is closed. Open a new one.")
            self.count("submitted")
            self._mailbox.put_awaited(ticket)
            return future.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            future.cancel()
            if self._mailbox.withdraw(ticket):
                self.count("errors")
            raise ServerUnavailable(self._no_answer(patience)) from None
        finally:
            self._one_caller.release()

    def status(self, timeout_s: float = 2.0) -> ServerStatus:
        """Ask the server how it is; raise `ServerUnavailable` where it does not say."""
        future = self._mailbox.ask_status()
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise ServerUnavailable(self._no_answer(timeout_s)) from None

    def close(self) -> None:
        """Say goodbye and free everything; safe to call twice and from a callback."""
        self._stop.set()
        self._mailbox.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What follows is called by the exchange, on the I/O thread.

    def count(self, name: str) -> None:
        """Raise a counter."""
        with self._lock:
            self._counters[name] += 1

    def became(self, state: ClientState, reason: str) -> None:
        """Note the state and tell who listens, where it changed."""
        changed = state is not self._state
        self._reason, self._state = reason, state  # who waits for the state finds its reason
        if changed:
            logger.info("%s: %s (%s)", self.address, state, reason)
            if self._on_state is not None:
                self._guarded(self._on_state, state, reason)

    def answered(self, ticket: Ticket, result: FrameResult) -> None:
        """Hand a result to whom it belongs."""
        self._record(ticket, result=result)
        if ticket.future is not None:
            in_time = ticket.future.set_running_or_notify_cancel()
            self.count("answered" if in_time else "errors")  # its caller may have given up
            if in_time:
                ticket.future.set_result(result)
            return
        latency_ms = (time.monotonic_ns() - ticket.since_ns) / 1e6
        if self.age_limits.is_too_old(latency_ms / 1e3):
            self.count("discarded")
            self.dropped(ticket, f"The result came {latency_ms:.0f} ms after the frame, too late to be shown.")
            return
        self.count("answered")
        if self.is_stale(latency_ms):
            self.count("stale")
        if self._on_result is not None:
            self._guarded(self._on_result, result, latency_ms)

    def dropped(self, ticket: Ticket, why: str) -> None:
        """Note that a live frame came to nothing though nothing went wrong; tell why, where there is a why."""
        self.count("dropped")
        if why:
            self.last_error = why
            if self._on_error is not None:
                self._guarded(self._on_error, ticket.frame, why)

    def failed(self, ticket: Ticket, error: Exception) -> None:
        """Tell that a frame gets no result."""
        self._record(ticket, error=str(error))
        self.count("errors")
        self.last_error = str(error)
        if ticket.future is not None:
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(error)
        elif self._on_error is not None:
            self._guarded(self._on_error, ticket.frame, str(error))

    def _record(self, ticket: Ticket, result: FrameResult | None = None, error: str = "") -> None:
        if self._recorder is not None:
            sha256 = self.server.model_sha256 if self.server else ""
            self._recorder.record(
                Answer(ticket.image, ticket.context, ticket.frame, ticket.since_ns, result, error, sha256)
            )

    def _guarded(self, callback: Callable[..., None], *values: object) -> None:
        try:
            callback(*values)
        except Exception:  # a listener's fault must not end the exchange
            logger.exception("a listener of %s failed", self.address)

    def _no_answer(self, seconds: float) -> str:
        return (
            f"No answer from {self.address} within {seconds:g} s ({self._state}: {self._reason}). "
            f"Start a server with: stemctx serve --port {self.address.rsplit(':', 1)[1]}"
        )

    def _run(self) -> None:
        try:
            self._exchange.run(self._stop)
        except Exception as error:
            logger.exception("the client of %s failed", self.address)
            self.became(ClientState.FAILED, f"{type(error).__name__}: {error}. Start it again.")
        else:
            self.became(ClientState.OFF, "closed")
        finally:
            self._stop.set()
            self._exchange.abandon(ServerUnavailable("This client was closed. Open a new one."))
            self._mailbox.close()
