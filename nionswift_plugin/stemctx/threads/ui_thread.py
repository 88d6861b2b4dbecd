"""From any thread to the window's thread, and the windows that are open."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from nionswift_plugin.stemctx.threads.throttle import Throttle

logger = logging.getLogger(__name__)


class UiThread:
    """Runs functions on the thread of Nion Swift's windows.

    Every window brings its own event loop, all on one thread; closing a window kills what waits in its loop. So a
    function goes through any window that is open, and waits for the next window where there is none. Of functions
    under the same key only the newest is run, so that a slow window never lags behind.

    Attributes
    ----------
    run_ms, run_cpu_ms
        How long the newest runs held the window's thread, and how long they computed (ms); on a busy machine they
        differ.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pending: dict[str, Callable[[], None]] = {}
        self._later: dict[str, tuple[Any, Any]] = {}
        self._closed = False
        self._log = Throttle(10.0)
        self.run_ms: deque[float] = deque(maxlen=10_000)
        self.run_cpu_ms: deque[float] = deque(maxlen=10_000)

    def add_window(self, window: Any) -> None:
        """Use a document window from now on."""
        with self._lock:
            self._windows.add(window)
            waiting = bool(self._pending)
        if waiting:
            self._schedule()

    def remove_window(self, window: Any) -> None:
        """Do not use a window any more; to be called while it closes."""
        with self._lock:
            self._windows.discard(window)
            for key, (handle, owner) in list(self._later.items()):
                if owner is window:
                    handle.cancel()
                    del self._later[key]
            waiting = bool(self._pending)
        if waiting:
            self._schedule()

    @property
    def windows(self) -> list[Any]:
        """Open document windows."""
        with self._lock:
            return list(self._windows)

    @property
    def document_models(self) -> list[Any]:
        """Document models of the open windows, each once."""
        models = {id(w.document_model): w.document_model for w in self.windows if w.document_model is not None}
        return list(models.values())

    def call(self, key: str, function: Callable[[], None]) -> None:
        """Run a function soon, on the window's thread, unless a newer one of the same key comes first."""
        with self._lock:
            if self._closed:
                return
            waiting = bool(self._pending)
            self._pending[key] = function
        if not waiting:
            self._schedule()

    def call_later(self, key: str, delay_s: float, function: Callable[[], None]) -> None:
        """Run a function after a while, once for each key at a time; to be called on the window's thread."""

        def run() -> None:
            self._later.pop(key, None)
            self.call(key, function)

        windows = self.windows
        if windows and key not in self._later and not self._closed:
            self._later[key] = windows[0].event_loop.call_later(delay_s, run), windows[0]

    def is_waiting(self, key: str) -> bool:
        """Whether a function of `call_later` is still to be run; to be called on any thread."""
        return key in self._later

    def close(self) -> None:
        """Run nothing any more."""
        with self._lock:
            self._closed = True
            for handle, _ in self._later.values():
                handle.cancel()
            self._later.clear()
            self._pending.clear()
            self._windows.clear()

    def _schedule(self) -> None:
        for window in self.windows:
            loop = window.event_loop
            if loop is None or loop.is_closed():
                continue
            try:
                loop.call_soon_threadsafe(self._run)
            except RuntimeError:  # it closed just now
                continue
            return

    def _run(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, {}
        start, start_cpu = time.perf_counter_ns(), time.thread_time_ns()
        for function in pending.values():
            try:
                function()
            except Exception:
                if self._log.ready():
                    logger.exception("The window could not be updated")
        self.run_ms.append((time.perf_counter_ns() - start) / 1e6)
        self.run_cpu_ms.append((time.thread_time_ns() - start_cpu) / 1e6)
