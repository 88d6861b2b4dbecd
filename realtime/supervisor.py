"""A server of our own: started as a process, watched, started again after a crash, ended with us."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stemctx_core.errors import ServerUnavailable

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0
_MOST_CRASHES: Final = 5
_CRASH_WINDOW_S: Final = 60.0
_STOP_S: Final = 3.0


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
    from a quarter of a second to eight; after five crashes in a minute it is left, `state` FAILED.

    Parameters
    ----------
    bundle, engine, threads
        Handed to the server.
    on_state
        Called with the state and why, on the watching thread.
    start_timeout_s
        How long a start may take, the first compilation of the analysis included.
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
        start_timeout_s: float = 120.0,
        command: Sequence[str] | None = None,
    ) -> None:
        options = {"--bundle": bundle, "--engine": engine, "--threads": threads, "--nice": 5}
        given = [str(part) for pair in options.items() if pair[1] is not None for part in pair]
        self._command = list(command) if command else [python(), "-m", "realtime.server", *given]
        self._on_state = on_state
        self._start_timeout_s = start_timeout_s
        self._state, self._reason = ServerState.OFF, ""
        self._process: subprocess.Popen[bytes] | None = None
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
        return self._process.pid if self._process else None

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
        if not self._ready.wait(self._start_timeout_s) or self._state is not ServerState.RUNNING:
            reason = self._reason or f"it was not ready after {self._start_timeout_s:g} s"
            self.stop()
            raise ServerUnavailable(f"The local inference server did not start: {reason}")
        return self

    def stop(self) -> None:
        """End the server: its input is closed, after three seconds it is terminated, after three more killed."""
        self._stop.set()
        with self._lock:
            process = self._process
        if process is not None:
            _end(process)
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
        self._became(ServerState.STARTING, "")
        while not self._stop.is_set():
            code = self._run_once()
            if self._stop.is_set():
                return
            words = self._said[-1] if self._said else f"it ended with code {code} and without a word"
            crashes.append(time.monotonic())
            too_often = len(crashes) == _MOST_CRASHES and crashes[-1] - crashes[0] < _CRASH_WINDOW_S
            if code == 2 or too_often or not self._ready.is_set():
                # Code 2 is an error that comes again (a damaged bundle); a first start is reported at once.
                self._became(ServerState.FAILED, words)
                self._ready.set()
                return
            self.restarts += 1
            self._became(ServerState.RESTARTING, words)
            self._stop.wait(min(_FIRST_PAUSE_S * 2 ** (len(crashes) - 1), _LONGEST_PAUSE_S))

    def _run_once(self) -> int:
        """Run the server once, to its end; give its exit code."""
        self._said.clear()
        lower = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        with self._lock:
            if self._stop.is_set():
                return 0
            try:
                process = self._process = subprocess.Popen(
                    [*self._command, "--port", str(self._port), "--parent-pipe"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    creationflags=lower,
                )
            except OSError as error:
                self._said.append(f"{self._command[0]} cannot be run: {error}")
                return 2
        listener = threading.Thread(
            target=self._listen, args=(process,), name="stemctx-server-log", daemon=True
        )
        listener.start()
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:  # until the process ends
            name, _, port = line.decode(errors="replace").strip().partition(" ")
            if name == "READY" and port.isdigit():
                self._port = int(port)
                self._became(ServerState.RUNNING, f"on port {port}")
                self._ready.set()
        code = process.wait()
        listener.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            words = line.decode(errors="replace").rstrip()
            if words:
                self._said.append(words.removeprefix("stemctx: "))
                logger.info("server: %s", words)

    def _became(self, state: ServerState, reason: str) -> None:
        self._state, self._reason = state, reason
        if self._on_state is not None:
            try:
                self._on_state(state, reason)
            except Exception:  # a listener's fault must not end the watch
                logger.exception("a listener of the local server failed")


def python() -> str:
    """Find the interpreter: inside a program that embeds Python, `sys.executable` may be that program."""
    if Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    inside = Path(sys.prefix, "python.exe") if os.name == "nt" else Path(sys.prefix, "bin", "python3")
    return str(inside) if inside.exists() else sys.executable


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended by itself
        process.stdin.close()
    for harder in (process.terminate, process.kill, None):
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            if harder is not None:
                harder()
        else:
            return
