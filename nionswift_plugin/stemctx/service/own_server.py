"""The inference server that the live service starts where none is given."""

from __future__ import annotations

import threading
from collections.abc import Callable

from realtime.client.supervisor import LocalServer
from stemctx_core.errors import ServerUnavailable


class OwnServer:
    """A server process, started when it is asked for and kept for the next start; for any thread.

    Parameters
    ----------
    threads
        Of its CPU engine; all cores but one by default.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._one_start = threading.Lock()
        self._server: LocalServer | None = None

    @property
    def process(self) -> LocalServer | None:
        """The server, from its first start on."""
        return self._server

    def address(self, wanted: Callable[[], bool]) -> str:
        """Where it listens; starts it where it does not run, which takes seconds, one start at a time.

        Parameters
        ----------
        wanted
            Whether it is still wanted when it is its turn.

        Raises
        ------
        ServerUnavailable
            It is not wanted any more, or does not start.
        """
        with self._one_start:
            with self._lock:
                if not wanted():
                    raise ServerUnavailable("Stopped before the server was started.")
                if self._server is None:
                    # Known before it runs, so that stop() can end it while it starts.
                    self._server = LocalServer(threads=self._threads)
                server = self._server
            return server.start().address

    def stop(self) -> None:
        """End it, where there is one."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()
