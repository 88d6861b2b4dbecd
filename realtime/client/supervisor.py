"""A server of our own: started as a process, watched, started again after a crash, ended with us."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from realtime.client.server_process import ServerProcess
from stemctx_core.errors import ServerUnavailable
from stemctx_core.interpreter import python

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0
_MOST_CRASHES: Final = 5
_CRASH_WINDOW_S: Final = 60.0


class ServerState(StrEnum):
    """How the process is."""

    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    FAILED = "failed"


class LocalServer:
    """Runs ``python -m realtime.server`` on a free loopback port.

    After a crash it is started again on the same port, so that clients find it by themselves, with pauses that grow
    from a quarter of a second to eight and begin anew once it ran for a minute; after five crashes in a minute it is
    left, `state` FAILED. A server that says nothing for `silence_s` hangs: it is killed, and that is a crash.

    Parameters
    ----------
    bundle, engine, threads
        Handed to the server.
    on_state
        Called with the state and why, on the watching thread.
    start_timeout_s
        How long a start may take, the first compilation of the analysis included.
    silence_s
        How long a server that is ready may say nothing; it says something every second, unless it hangs or a single
        frame takes it longer than two minutes.
    command
        Another program with the same manners (``--port``, ``READY``, end of input), for tests.
    """

    def __init__(
        self,
        bundle: Path | None = None,
        engine: str | None = None,
        threads: int | None = None,
        *,
        on_state: Callable[[ServerState, str], None] | None = None,
        start_timeout_s: float = 300.0,
        silence_s: float = 20.0,
        command: Sequence[str] | None = None,
    ) -> None:
        options = {"--bundle": bundle, "--engine": engine, "--threads": threads, "--nice": 5}
        given = [str(part) for pair in options.items() if pair[1] is not None for part in pair]
        self._command = list(command) if command else [python(), "-X", "utf8", "-m", "realtime.server", *given]
        self._on_state = on_state
        self._start_timeout_s, self._silence_s = start_timeout_s, silence_s
        self._state, self._reason = ServerState.OFF, ""
        self._process: ServerProcess | None = None
        self._port = 0
        self._said: deque[str] = deque(maxlen=20)
        self._ready, self._stop = threading.Event(), threading.Event()
        self._lock = threading.Lock()  # start and end of the process
        self._watcher: threading.Thread | None = None
        self.restarts = 0

    @property
    def state(self) -> ServerState:
        """How the process is."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the state is what it is; after a failure, the last words of the server."""
        return self._reason

    @property
    def address(self) -> str:
        """Where clients connect; stays the same over restarts."""
        if not self._port:
            raise ServerUnavailable("The local server was not started. Call start() first.")
        return f"tcp://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id, or None."""
        process = self._process
        return process.pid if process else None

    def start(self) -> Self:
        """Start and wait until the server is ready.

        Raises
        ------
        ServerUnavailable
            With the server's own words, where it ends or is not ready in time.
        """
        if self._watcher is not None and self._watcher.is_alive():
            return self
        self._stop.clear()
        self._ready.clear()
        self._watcher = threading.Thread(target=self._watch, name="stemctx-supervisor", daemon=True)
        self._watcher.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C while it starts
            self.stop()
            raise
        if self._state is not ServerState.RUNNING:
            reason = self._reason
            self.stop()
            raise ServerUnavailable(f"The local inference server did not start: {reason}")
        return self

    def stop(self) -> None:
        """End the server: its input is closed, after three seconds it is terminated, after three more killed."""
        self._stop.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.end()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
            self._watcher = None
        self._process, self._port = None, 0
        self._became(ServerState.OFF, "stopped")
        self._ready.set()  # a start that is under way in another thread need not wait any longer

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _watch(self) -> None:
        crashes: deque[float] = deque(maxlen=_MOST_CRASHES)
        pause_s = _FIRST_PAUSE_S
        self._became(ServerState.STARTING, "")
        while not self._stop.is_set():
            started = time.monotonic()
            code = self._run_once()
            if self._stop.is_set():
                return
            words = self._said[-1] if self._said else f"it ended with code {code} and without a word"
            now = time.monotonic()
            crashes.append(now)
            too_often = len(crashes) == _MOST_CRASHES and now - crashes[0] < _CRASH_WINDOW_S
            if code == 2 or too_often or not self._ready.is_set():
                # Code 2 is an error that comes again (a damaged bundle); a first start is reported at once.
                if too_often:
                    words = f"it crashed {_MOST_CRASHES} times in {_CRASH_WINDOW_S:g} s: {words}"
                self._became(ServerState.FAILED, words)
                self._ready.set()
                return
            self.restarts += 1
            self._became(ServerState.RESTARTING, words)
            if now - started > _CRASH_WINDOW_S:
                pause_s = _FIRST_PAUSE_S
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _run_once(self) -> int:
        """Run the server once, to its end; give its exit code."""
        self._said.clear()
        with self._lock:
            if self._stop.is_set():
                return 0
            command = [*self._command, "--port", str(self._port), "--parent-pipe"]
            try:
                process = self._process = ServerProcess(command, self._said)
            except OSError as error:
                self._said.append(f"{command[0]} cannot be run: {error}")
                return 2
        patience_s, silent = self._start_timeout_s, "it was not ready after"
        while True:
            try:
                line = process.lines.get(timeout=patience_s)
            except queue.Empty:
                process.kill()
                code = process.ended()
                self._said.append(f"{silent} {patience_s:g} s")
                return code
            if line is None:
                return process.ended()
            name, _, port = line.partition(" ")
            if name == "READY" and port.isdigit():
                patience_s, silent = self._silence_s, "it hung: not a word for"
                self._port = int(port)
                self._became(ServerState.RUNNING, f"on port {port}")
                self._ready.set()

    def _became(self, state: ServerState, reason: str) -> None:
        self._reason, self._state = reason, state  # who waits for the state finds its reason
        if self._on_state is not None:
            try:
                self._on_state(state, reason)
            except Exception:  # a listener's fault must not end the watch
                logger.exception("a listener of the local server failed")
