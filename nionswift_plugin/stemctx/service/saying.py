"""What the live service says of itself, and to whom: results that may be shown, and its state whenever that changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from nionswift_plugin.stemctx.service.standing import after_answer, refusal_of
from nionswift_plugin.stemctx.service.status import FlagAge, LiveState, LiveStatus
from nionswift_plugin.stemctx.threads.throttle import Throttle
from stemctx_core.results import FrameResult

logger = logging.getLogger(__name__)


class Saying:
    """Keeps what came of the service so far, and tells its listeners; what they raise is logged and goes no further.

    Parameters
    ----------
    lock
        The service's, held while the state is looked at; listeners are called without it.
    on_result, on_state
        As `nionswift_plugin.stemctx.service.live_service.LiveService` takes them.

    Attributes
    ----------
    said
        What came of it so far.
    refusal
        Why the newest frame could not be judged; empty where it could.
    """

    def __init__(
        self,
        lock: threading.RLock,
        on_result: Callable[[FrameResult, float], None] | None,
        on_state: Callable[[LiveStatus], None] | None,
    ) -> None:
        self._lock, self._on_result, self._on_state = lock, on_result, on_state
        self._told: LiveStatus | None = None
        self._log = Throttle(10.0)
        self.said = LiveStatus()
        self.refusal = ""

    def silence(self) -> None:
        """Tell nobody any more."""
        self._on_result = self._on_state = None

    def begin(self) -> None:
        """A start is under way."""
        self.said, self.refusal = LiveStatus(LiveState.CONNECTING, "starting the inference server"), ""

    def end(self, status: LiveStatus) -> None:
        """It was stopped, as it stood then."""
        self.said = replace(status, state=LiveState.OFF, reason="stopped", flags=FlagAge.GONE)

    def fail(self, reason: str) -> None:
        """It cannot go on."""
        self.said = replace(self.said, state=LiveState.FAILED, reason=reason)

    def answered(self, result: FrameResult, latency_ms: float, shown: bool) -> None:
        """A result came."""
        self.said = after_answer(self.said, result, latency_ms, shown)
        self.refusal = refusal_of(result)

    def tell_result(self, result: FrameResult, latency_ms: float) -> None:
        """Pass a result on that may be shown."""
        if (listener := self._on_result) is not None:
            self._call(listener, result, latency_ms)

    def tell_state(self, status: Callable[[], LiveStatus]) -> None:
        """Tell the state, if it is another than was told last."""
        with self._lock:
            # Rows arrive many times in a frame, and what they change of the status they change rarely.
            listener, now = self._on_state, status()
            if listener is None or now == self._told:
                return
            self._told = now
        self._call(listener, now)

    def _call(self, listener: Callable[..., None], *values: object) -> None:
        try:
            listener(*values)
        except Exception:
            if self._log.ready():
                logger.exception("A listener of the live service failed")
