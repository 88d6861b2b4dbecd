"""The client's socket and what ZeroMQ says of its connection; used from the I/O thread alone."""

from __future__ import annotations

import socket
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from realtime.codec import Part
from realtime.limits import MAX_HEADER_BYTES, MAX_PARTS

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
_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class Link:
    """A DEALER that connects and reconnects by itself.

    Parameters
    ----------
    address
        As `realtime.security.check_address` gives it.
    wake
        A socket that interrupts `wait`.
    """

    def __init__(self, address: str, wake: socket.socket) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = self._context.socket(zmq.DEALER)
        for option, value in _OPTIONS:
            self._dealer.setsockopt(option, value)
        self._dealer.setsockopt(zmq.IPV6, int("[" in address))
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
            changes.append(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
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
