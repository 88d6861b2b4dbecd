"""A TCP proxy that is the network between a client and a server: it counts, holds back, and breaks off."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards connections to a port of this machine.

    Attributes
    ----------
    port
        Where clients connect.
    sent, answered
        Bytes forwarded to the server, and back.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.sent = self.answered = 0
        self._flowing, self._closed = threading.Event(), threading.Event()
        self._flowing.set()
        self._answers_left: int | None = None
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="stemctx-test-proxy")]
        self._threads[0].start()

    def cut(self) -> None:
        """Let nothing through any more; neither side is told."""
        self._flowing.clear()

    def mend(self) -> None:
        """Let everything through again, what was held back first."""
        self._flowing.set()

    def break_after(self, answered: int) -> None:
        """Break every connection off in the middle, after so many more bytes of answers."""
        self._answers_left = answered

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._flowing.set()
        self._break()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                client, _ = self._listener.accept()
                client.settimeout(None)
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, server]
                for source, target, back in ((client, server, False), (server, client, True)):
                    pump = threading.Thread(
                        target=self._pump, args=(source, target, back), name="stemctx-test-pump"
                    )
                    self._threads.append(pump)
                    pump.start()

    def _pump(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                if self._closed.is_set():
                    break
                if back and self._answers_left is not None:
                    data, whole = data[: self._answers_left], len(data)
                    self._answers_left -= len(data)
                    target.sendall(data)
                    if len(data) < whole:
                        self._answers_left = None
                        self._break()
                        break
                    continue
                target.sendall(data)
                if back:
                    self.answered += len(data)
                else:
                    self.sent += len(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _break(self) -> None:
        for side in self._sockets:
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()
