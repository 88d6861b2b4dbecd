"""Who may connect to a server with keys, also while it runs: revoked keys are refused and their connections cut."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Final

import zmq
from zmq.auth.thread import ThreadAuthenticator

from realtime.keys.certificates import ZAP_DOMAIN, ServerKeys
from realtime.keys.folder import public_keys
from stemctx_core.errors import SecurityError

logger = logging.getLogger(__name__)

#: The folder is read anew when it changed, and this often whatever its times say.
_REREAD_S: Final = 1.0


class Admission:
    """The keys that a key folder admits, at any moment. Safe to use from several threads.

    Parameters
    ----------
    folder
        See `realtime.keys.folder.KeyFolder`.
    """

    def __init__(self, folder: Path) -> None:
        self._places = (folder / "clients", folder / "revoked")
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._read_at = 0.0
        self._admitted: frozenset[bytes] = frozenset()

    def admits(self, public: bytes) -> bool:
        """Whether a public key is admitted now."""
        with self._lock:
            now, seen = time.monotonic(), tuple(_changed_ns(place) for place in self._places)
            if seen != self._seen or now - self._read_at > _REREAD_S or not self._read_at:
                clients, revoked = (public_keys(place).values() for place in self._places)
                self._admitted = frozenset(clients) - frozenset(revoked)
                self._seen, self._read_at = seen, now
            return public in self._admitted

    def callback(self, domain: str, key: bytes) -> bool:
        """Answer `zmq.auth` about a connection that is being made."""
        admitted = self.admits(key)
        if not admitted:
            logger.warning("a client with the key %s is not admitted", key.decode(errors="replace"))
        return admitted


class Guard:
    """Stands at the socket of a server with keys.

    Parameters
    ----------
    context
        Of the server; only one guard to a context.
    keys
        The server's.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys) -> None:
        self._keys = keys
        self._admission = Admission(keys.folder)
        self._connections: dict[tuple[int, object], bytes] = {}
        self._swept_at = 0.0
        self._authenticator = ThreadAuthenticator(context, log=logging.getLogger("realtime.zap"))
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain=ZAP_DOMAIN, credentials_provider=self._admission)

    def protect(self, router: zmq.Socket[bytes]) -> None:
        """Make a socket a CURVE server, before it is bound."""
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
        router.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.public)
        router.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN.encode())

    def user(self, frame: zmq.Frame) -> bytes | None:
        """Public key of the sender of a message; None where it is admitted no more."""
        name = frame.get("User-Id")
        public = name.encode() if isinstance(name, str) else bytes(name)
        self._note(int(frame.get(zmq.SRCFD)), public)
        return public if self._admission.admits(public) else None

    def sweep(self) -> None:
        """Cut the connections of keys that were revoked; once a second, the other calls cost nothing."""
        now = time.monotonic()
        if now - self._swept_at < _REREAD_S:
            return
        self._swept_at = now
        for (descriptor, address), public in list(self._connections.items()):
            if _address_of(descriptor) != address:
                del self._connections[descriptor, address]  # it ended, and its number may be another's by now
            elif not self._admission.admits(public):
                logger.warning("a connection from %s is cut: its key was revoked", address)
                _cut(descriptor)
                del self._connections[descriptor, address]

    def close(self) -> None:
        """End the authentication; before the context does."""
        self._authenticator.stop()

    def _note(self, descriptor: int, public: bytes) -> None:
        address = _address_of(descriptor)
        if address is not None:
            self._connections[descriptor, address] = public


def check_admitting(folder: Path) -> None:
    """Raise `SecurityError` where somebody else could admit clients."""
    if os.name == "nt":
        return
    for place in (folder, folder / "clients", folder / "revoked"):
        if place.is_dir() and place.stat().st_mode & 0o022:
            raise SecurityError(
                f"{place} can be changed by others, who could admit anyone. Run: chmod 700 {place}"
            )


def _changed_ns(place: Path) -> int:
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0


def _address_of(descriptor: int) -> object:
    """Who is at the other end of a socket that ZeroMQ owns; None where it is closed or no socket."""
    try:
        borrowed = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return borrowed.getpeername()
    except OSError:
        return None
    finally:
        borrowed.detach()


def _cut(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        borrowed = socket.socket(fileno=descriptor)
        try:
            borrowed.shutdown(socket.SHUT_RDWR)  # ZeroMQ sees the end of the stream and closes it
        finally:
            borrowed.detach()
