"""The client's socket and what ZeroMQ says of its connection; used from the I/O thread alone."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from realtime.keys.certificates import ClientKeys
from realtime.wire.codec import Part
from realtime.wire.limits import MAX_HEADER_BYTES, MAX_PARTS

#: A site table of a frame of 8192² at the smallest pixels stays far below.
_MOST_REPLY_BYTES: Final = 64 * 1024 * 1024
_OPTIONS: Final = (
    (zmq.LINGER, 0),
    (zmq.IMMEDIATE, 1),
    (zmq.SNDHWM, 4),
    (zmq.RCVHWM, 4),
    (zmq.MAXMSGSIZE, _MOST_REPLY_BYTES + MAX_HEADER_BYTES),
    (zmq.HEARTBEAT_IVL, 1000),
    (zmq.HEARTBEAT_TIMEOUT, 3000),
    (zmq.HANDSHAKE_IVL, 3000),
    (zmq.RECONNECT_IVL, 50),
    (zmq.RECONNECT_IVL_MAX, 1000),
)
_FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _FAILURES
#: ZeroMQ gives up after a refusal; we ask again so often, since a key can be admitted meanwhile.
_ASK_AGAIN_S: Final = 2.0
#: A server that ends looks the same as one with another key, but not so many times in a row.
_MOST_ABORTED: Final = 3


class Link:
    """A DEALER that connects and reconnects by itself.

    Parameters
    ----------
    address
        As `realtime.keys.addresses.check_address` gives it.
    wake
        A socket that interrupts `wait`.
    keys
        With them the server is held to its key, and everything is encrypted.

    Attributes
    ----------
    refusal
        Why the server does not let this client in, and what to do; empty while there is no such reason.
    """

    def __init__(self, address: str, wake: socket.socket, keys: ClientKeys | None = None) -> None:
        self.refusal = ""
        self._address, self._with_keys = address, keys is not None
        self._aborted = 0
        self._ask_again_at: float | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        for option, value in _OPTIONS:
            self._dealer.setsockopt(option, value)
        self._dealer.setsockopt(zmq.IPV6, int("[" in address))
        if keys is not None:
            self._dealer.setsockopt(zmq.CURVE_SERVERKEY, keys.server_public)
            self._dealer.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            self._dealer.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self._monitor = self._dealer.get_monitor_socket(_EVENTS)
        self._poller = zmq.Poller()
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(wake.fileno(), zmq.POLLIN)
        self._dealer.connect(address)

    def wait(self, milliseconds: int) -> None:
        """Wait until something is there, or that long."""
        self._poller.poll(milliseconds)

    def events(self) -> list[bool]:
        """Changes of the connection since the last call: True connected, False lost."""
        changes = []
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event & _FAILURES:
                self._failed(event)
            else:
                changes.append(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
                if changes[-1]:
                    self.refusal, self._aborted, self._ask_again_at = "", 0, None
        if self._ask_again_at is not None and time.monotonic() > self._ask_again_at:
            self._ask_again_at = None
            with contextlib.suppress(zmq.ZMQError):  # it has given the address up already
                self._dealer.disconnect(self._address)
            self._dealer.connect(self._address)
        return changes

    def receive(self) -> list[Part] | None:
        """Take the parts of the next message, or None."""
        try:
            frames = [self._dealer.recv(zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return None
        while self._dealer.getsockopt(zmq.RCVMORE):
            frame = self._dealer.recv(zmq.NOBLOCK, copy=False)
            if len(frames) <= MAX_PARTS:
                frames.append(frame)
        return [frame.buffer for frame in frames]

    def send(self, parts: list[Part]) -> bool:
        """Send at once or not at all; arrays are not copied, so they must not change any more."""
        try:
            self._dealer.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close everything; a last word gets a tenth of a second to leave."""
        self._dealer.disable_monitor()
        self._monitor.close(0)
        self._dealer.close(linger=100)
        self._context.term()

    def _failed(self, event: int) -> None:
        """Note why a handshake failed."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._aborted += 1
            if self._with_keys and self._aborted >= _MOST_ABORTED:
                self.refusal = (
                    f"The server at {self._address} breaks the handshake off. Is --server-key the key of this very "
                    "server, and was it started with --keys?"
                )
            return
        self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refusal = (
                f"The server at {self._address} does not admit this client's key. Have it admitted there: "
                "stemctx keys admit NAME.key"
            )
        elif self._with_keys:
            self.refusal = (
                f"The server at {self._address} uses no keys. Start it with --keys, or leave --key out."
            )
        else:
            self.refusal = f"The server at {self._address} wants keys. Give --key and --server-key."
