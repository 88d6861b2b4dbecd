"""Letting something through at most so often: the panel's updates, and log lines of the frame path."""

from __future__ import annotations

import threading
import time


class Throttle:
    """True at most once every `period_s` seconds, from any thread.

    Parameters
    ----------
    period_s
        Shortest time between two that pass (s).
    """

    def __init__(self, period_s: float) -> None:
        self._period_ns = int(period_s * 1e9)
        self._lock = threading.Lock()
        self._last_ns: int | None = None

    def ready(self) -> bool:
        """Whether this one may pass; where it may, the period starts anew."""
        now = time.monotonic_ns()
        with self._lock:
            if self._last_ns is not None and now - self._last_ns < self._period_ns:
                return False
            self._last_ns = now
            return True

    def remaining_s(self) -> float:
        """Time until the next one may pass (s)."""
        with self._lock:
            if self._last_ns is None:
                return 0.0
            return max(0.0, (self._period_ns - (time.monotonic_ns() - self._last_ns)) / 1e9)
