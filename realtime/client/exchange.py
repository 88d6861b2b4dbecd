"""The client's side of the conversation: hello, one frame at a time, heartbeats, and when to call a server stale."""

from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import Future
from typing import Final
from urllib.parse import urlsplit

from realtime.client.link import Link
from realtime.client.mailbox import Mailbox, Ticket
from realtime.client.outgoing import Outgoing
from realtime.client.owner import Owner
from realtime.client.poison import Suspects
from realtime.client.states import ClientState
from realtime.keys.addresses import is_loopback
from realtime.wire import protocol
from realtime.wire.messages import (
    Bye,
    Cancel,
    Hello,
    Reply,
    Request,
    ResultBody,
    ServerHello,
    ServerStatus,
    Status,
    StatusRequest,
    WireError,
)
from realtime.wire.protocol import Part
from stemctx_core.errors import ProtocolError, ServerUnavailable, TransportError
from stemctx_core.results import FrameIdentity, FrameResult

_POLL_MS: Final = 50
_GREET_NS: Final = 1_000_000_000
_HEARTBEAT_NS: Final = 1_000_000_000
_SILENCE_NS: Final = 3_000_000_000


class Exchange:
    """One conversation at a time over a `Link`; used from the I/O thread alone.

    A server that let a request time out gets no frame until it says that nothing of ours is under way: a circuit
    breaker that closes by itself.
    """

    def __init__(self, client: Owner, mailbox: Mailbox, session: bytes) -> None:
        self._client, self._mailbox, self._session = client, mailbox, session
        self._ids = itertools.count(1)
        self._link: Link | None = None
        self._connected = self._open = False
        self._in_flight: Ticket | None = None
        self._outgoing = Outgoing(
            session, client.age_limits, packed=not is_loopback(urlsplit(client.address).hostname or "")
        )
        self._suspects = Suspects()
        self._control: dict[int, Future[ServerStatus] | None] = {}
        self._greeted_ns = self._beat_ns = self._unanswered_ns = 0
        self._before = ""
        self.server: ServerHello | None = None

    def run(self, stop: threading.Event) -> None:
        """Talk until `stop`."""
        self._link = Link(self._client.address, self._mailbox.wake, self._client.keys)
        try:
            while not stop.is_set():
                self._link.wait(_POLL_MS)
                self._mailbox.hear()
                for connected in self._link.events():
                    self._connection(connected)
                while (parts := self._link.receive()) is not None:
                    self._heard(parts)
                self._check_times(time.monotonic_ns())
                self._drain()
                self._send_waiting()
            if self._connected:
                self._send(Bye(session=self._session, id=next(self._ids)))
        finally:
            self._link.close()

    def abandon(self, error: TransportError) -> None:
        """Tell everyone who still waits."""
        waiting = [self._in_flight, self._mailbox.take(), self._mailbox.take()]
        self._in_flight = None
        for ticket in waiting:
            if ticket is not None:
                self._client.failed(ticket, error)
        self._drop_status(error)
        for future in self._mailbox.take_status():
            _reject(future, error)

    def _connection(self, connected: bool) -> None:
        self._connected = connected
        if connected:
            self._greet(time.monotonic_ns())
        else:
            self._lost("the connection was lost; reconnecting", server_gone=True)
            if self._client.state is ClientState.REFUSED and not (self._link and self._link.refusal):
                self._client.became(ClientState.CONNECTING, "the server that refused is gone")

    def _greet(self, now: int) -> None:
        self._greeted_ns = now
        request_id = next(self._ids)
        self._control[request_id] = None
        self._send(Hello(session=self._session, id=request_id, t_ns=now, client=f"stemctx pid {os.getpid()}"))

    def _lost(self, why: str, *, server_gone: bool = False) -> None:
        self._open = False
        error = ServerUnavailable(f"{self._client.address}: {why}. The frame under way got no result.")
        ticket, self._in_flight = self._in_flight, None
        self._outgoing.forget()
        self._drop_status(error)
        if self._client.state is ClientState.LIVE:
            self._client.became(ClientState.STALE, why)
        if ticket is None:
            return
        poison = server_gone and self._suspects.lost(ticket)
        if server_gone and not poison and ticket.future is not None and not ticket.future.cancelled():
            self._mailbox.put_awaited(ticket)  # who waits has no newer frame to send instead
        else:
            self._client.failed(ticket, _poisoned() if poison else error)

    def _drop_status(self, error: TransportError) -> None:
        for future in self._control.values():
            if future is not None:
                _reject(future, error)
        self._control.clear()

    def _check_times(self, now: int) -> None:
        ticket = self._in_flight
        if ticket is not None and now - ticket.sent_ns > ticket.timeout_s * 1e9:
            self._send(Cancel(session=self._session, id=next(self._ids), target=ticket.id))
            self._lost(f"no answer to a frame within {ticket.timeout_s:g} s")
        if not self._connected:
            if self._link is not None and self._link.refusal:
                self._client.became(ClientState.REFUSED, self._link.refusal)
            return
        if not self._open:
            if now - self._greeted_ns > _GREET_NS:
                self._control.clear()
                self._greet(now)
                self._ask(now, None)
        else:
            # Since it was asked: while this thread got no turn, it asked nothing.
            if self._unanswered_ns and now - self._unanswered_ns > _SILENCE_NS:
                self._lost(f"silent for {_SILENCE_NS / 1e9:g} s", server_gone=True)
            elif now - self._beat_ns > _HEARTBEAT_NS:
                self._ask(now, None)

    def _ask(self, now: int, future: Future[ServerStatus] | None) -> None:
        self._beat_ns = now
        self._unanswered_ns = self._unanswered_ns or now
        request_id = next(self._ids)
        self._control[request_id] = future
        detail = future is not None
        self._send(StatusRequest(session=self._session, id=request_id, t_ns=now, detail=detail))

    def _drain(self) -> None:
        scan_id, ticket = self._mailbox.take_drain(), self._in_flight
        if scan_id is None or ticket is None or ticket.future is not None or ticket.frame.scan_id == scan_id:
            return
        self._in_flight = None
        self._send(Cancel(session=self._session, id=next(self._ids), target=ticket.id))
        self._client.dropped(ticket, "")

    def _send_waiting(self) -> None:
        now = time.monotonic_ns()
        if self._connected:
            for future in self._mailbox.take_status():
                self._ask(now, future)
        if not self._open or self._in_flight is not None:
            return
        ticket = self._mailbox.take()
        if ticket is None:
            return
        if ticket.future is None and self._client.age_limits.left_s(ticket.queued_ns, ticket.since_ns, now) < 0:
            self._client.dropped(ticket, "The frame was too old when its turn came.")
        elif self._suspects.is_poison(ticket):
            self._client.failed(ticket, _poisoned())
        else:
            self._send_frame(ticket, now)

    def _send_frame(self, ticket: Ticket, now: int) -> None:
        ticket.id, ticket.sent_ns = next(self._ids), now
        try:
            limits = self.server.limits if self.server is not None else protocol.Limits()
            parts = self._outgoing.laid_out(ticket, limits)
        except (ProtocolError, TypeError, ValueError) as error:
            self._client.failed(ticket, error)
            return
        assert self._link is not None
        if self._link.send(parts):
            self._in_flight = ticket
        else:
            self._outgoing.forget()
            self._client.failed(ticket, ServerUnavailable(f"{self._client.address} takes no message."))

    def _send(self, request: Request) -> None:
        assert self._link is not None
        self._link.send(protocol.encode(request))

    def _heard(self, parts: list[Part]) -> None:
        try:
            reply, arrays = protocol.decode_reply(parts)
        except WireError as error:
            self._client.count("malformed")
            if error.status is Status.UNSUPPORTED_VERSION:
                self._open = False
                self._client.became(ClientState.REFUSED, str(error))
            return
        self._unanswered_ns = 0
        ticket = self._in_flight
        if reply.session == self._session and reply.id in self._control:
            self._controlled(reply)
        elif ticket is None or reply.session != self._session or reply.id != ticket.id:
            self._client.count("late")
        else:
            self._in_flight = None
            self._ended(ticket, reply, arrays)

    def _ended(self, ticket: Ticket, reply: Reply, arrays: protocol.Arrays) -> None:
        if reply.status is not Status.OK:
            self._outgoing.forget()
        if reply.status is Status.ROWS_MISSING and not ticket.whole:
            ticket.whole = True
            self._send_frame(ticket, time.monotonic_ns())
        elif reply.status is Status.STALE and ticket.future is None:
            self._client.dropped(ticket, "The frame was too old when its turn came.")
        else:
            try:
                result = _result(reply, arrays, ticket.frame)
            except TransportError as error:
                self._client.failed(ticket, error)
                if reply.status is Status.SHUTTING_DOWN:
                    self._lost("the server is shutting down")
            else:
                self._client.answered(ticket, result)

    def _controlled(self, reply: Reply) -> None:
        future = self._control.pop(reply.id)
        if reply.error is not None:
            self._open = False
            self._client.became(ClientState.REFUSED, reply.error.message)
        elif isinstance(reply.body, ServerHello):
            before, self.server = self.server, reply.body
            if before is not None and before.model_sha256 != self.server.model_sha256:
                self._before = f"; {before.model} before"
            if before is None or self._client.state is not ClientState.STALE:
                self._live()
            else:
                self._ask(time.monotonic_ns(), None)
        elif isinstance(reply.body, ServerStatus):
            if future is not None and future.set_running_or_notify_cancel():
                future.set_result(reply.body)
            # After a time-out only a server that is through with what it has gets more.
            if not self._open and self.server is not None and reply.body.under_way == 0:
                self._live()

    def _live(self) -> None:
        assert self.server is not None
        self._open = True
        self._client.became(ClientState.LIVE, f"{self.server.model} on {self.server.engine.name}{self._before}")


def _result(reply: Reply, arrays: protocol.Arrays, frame: FrameIdentity) -> FrameResult:
    if reply.error is not None:
        kind = ServerUnavailable if reply.status in (Status.BUSY, Status.SHUTTING_DOWN) else ProtocolError
        raise kind(reply.error.message)
    if not isinstance(reply.body, ResultBody):
        raise ProtocolError("The server answered a frame with something else. Restart it.")
    about = reply.body.frame
    same = (about.scan_id, about.frame_index) == (frame.scan_id, frame.frame_index)
    if not same or frame.valid_rows not in (0, about.valid_rows):
        raise ProtocolError("The server answered about another frame, or other rows of it. Restart it.")
    return protocol.result_from(reply.body, arrays)


def _poisoned() -> ServerUnavailable:
    return ServerUnavailable(
        "The server was lost twice with this frame in hand, so it is not sent again. Scan another frame, and see the "
        "server's log."
    )


def _reject(future: Future[ServerStatus], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
