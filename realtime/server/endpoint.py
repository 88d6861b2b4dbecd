"""The server's sockets: the ROUTER that is bound to an address, and the wake-up of the worker."""

from __future__ import annotations

from typing import Final, NamedTuple

import zmq

from realtime.keys.addresses import check_host
from realtime.keys.admission import Guard, check_admitting
from realtime.keys.certificates import ServerKeys
from realtime.wire.codec import Part
from realtime.wire.limits import MAX_PARTS, Limits
from stemctx_core.closing import Closing
from stemctx_core.errors import InputError, PortInUse

_WAKE: Final = "inproc://worker-done"


class Incoming(NamedTuple):
    """A message: where its answer goes, whose it is, and its parts.

    ``sender`` is the client's public key; without keys it is the connection, as ``peer`` is.
    """

    peer: bytes
    sender: bytes
    parts: list[Part]


class Endpoint(Closing):
    """An address that is taken; nobody is answered before a `realtime.server.DefectServer` serves it.

    Parameters
    ----------
    host, port
        Loopback only, unless there are keys; port 0 takes a free one.
    limits
        What a request may hold.
    keys
        With them only clients whose keys are admitted can connect, and everything is encrypted.

    Attributes
    ----------
    port
        The port that was taken.
    wake_address
        Where a worker connects a PAIR socket to wake the server.

    Raises
    ------
    PortInUse
        Another process listens there.
    SecurityError
        An address that other machines can reach, without keys; a key folder that others can write.
    InputError
        No such port, or one that the system keeps for itself.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        keys: ServerKeys | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.wake_address = _WAKE
        host = check_host(host, with_keys=keys is not None)
        if keys is not None:
            check_admitting(keys.folder)
        if not 0 <= port <= 65535:
            raise InputError(f"There is no port {port}. Choose one from 1024 to 65535, or 0 for any free one.")
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self.context.socket(zmq.ROUTER)
        self._wake = self.context.socket(zmq.PAIR)
        self._guard = Guard(self.context, keys) if keys is not None else None
        try:
            if self._guard is not None:
                self._guard.protect(self._router)
            self.port = self._bind(host, port)
            self._wake.setsockopt(zmq.LINGER, 0)
            self._wake.bind(_WAKE)
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)

    def wait(self, milliseconds: int) -> bool:
        """Wait for a message or the worker; say whether there is a message."""
        if self._guard is not None:
            self._guard.sweep()
        ready = dict(self._poller.poll(milliseconds))
        if self._wake in ready:
            self._wake.recv(zmq.NOBLOCK)
        return self._router in ready

    def read(self) -> Incoming | None:
        """Take a message; None where its sender's key was revoked.

        It is read part by part, so that one of a thousand parts, or too large in all, is thrown away meanwhile.
        """
        peer = self._router.recv(zmq.NOBLOCK)
        sender: bytes | None = peer
        parts: list[Part] = []
        size = 0
        while self._router.getsockopt(zmq.RCVMORE):
            frame = self._router.recv(zmq.NOBLOCK, copy=False)
            if self._guard is not None and not size and not parts:
                sender = self._guard.user(frame)
            size += len(frame.buffer)
            if len(parts) <= MAX_PARTS and size <= self.limits.max_message_part_bytes:
                parts.append(frame.buffer)
        return None if sender is None else Incoming(peer, sender, parts)

    def send(self, peer: bytes, parts: list[Part]) -> bool:
        """Send at once or not at all: a peer that is gone or does not read must not hold the others up."""
        try:
            self._router.send_multipart([peer, *parts], zmq.NOBLOCK)
        except zmq.ZMQError:  # EHOSTUNREACH or EAGAIN
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Free the address; what was not sent after `linger_ms` is dropped. Safe to call twice."""
        self._router.close(linger_ms)
        self._wake.close(0)
        if self._guard is not None:
            self._guard.close()
        self.context.term()

    def _bind(self, host: str, port: int) -> int:
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, 4),
            (zmq.RCVHWM, 4),
            (zmq.MAXMSGSIZE, self.limits.max_message_part_bytes),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.HEARTBEAT_IVL, 1000),
            (zmq.HEARTBEAT_TIMEOUT, 3000),
            (zmq.HANDSHAKE_IVL, 3000),
            (zmq.IPV6, int(":" in host)),
        ):
            self._router.setsockopt(option, value)
        literal = f"[{host}]" if ":" in host else host
        try:
            self._router.bind(f"tcp://{literal}:{port or '*'}")
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise PortInUse(
                    f"Port {port} of {host} is in use, perhaps by another stemctx server. Stop that one, or choose "
                    "another port with --port (0 takes a free one)."
                ) from None
            raise InputError(
                f"Cannot listen on port {port} of {host}: {error}. Choose a port above 1023."
            ) from None
        bound = self._router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return int(bound.decode().rstrip("\0").rsplit(":", 1)[1])
