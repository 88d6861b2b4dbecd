"""What is on the screen: flags on the live image, and the result that the tabs show."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from nionswift_plugin.stemctx.overlay.composite import FlagsOverlay
from nionswift_plugin.stemctx.overlay.markers import Marker, markers
from nionswift_plugin.stemctx.service.shown import ShownRule
from nionswift_plugin.stemctx.service.status import FlagAge, FrameOrigin, LiveStatus
from nionswift_plugin.stemctx.threads.throttle import Throttle
from nionswift_plugin.stemctx.threads.ui_thread import UiThread
from nionswift_plugin.stemctx.window.feed import LiveFeed
from stemctx_core.results import FrameResult

_PERIOD_S: Final = 0.2


@dataclass(frozen=True)
class _Drawing:
    """A result with what is drawn of it by a rule."""

    result: FrameResult
    before: FrameResult | None
    rule: ShownRule
    drawn: tuple[Marker, ...]


def _draw(result: FrameResult, before: FrameResult | None, rule: ShownRule) -> _Drawing:
    return _Drawing(result, before, rule, markers(result, rule, before))


class Screen:
    """Keeps image and tabs to the newest result; its methods belong to the window's thread, except where said.

    A frozen screen keeps its result. On the image its flags stay while the same field is scanned, dimmed because the
    image goes on; where another field is scanned they would stand at the wrong places, so they are off until the scan
    comes back.

    Parameters
    ----------
    ui
        Way to the window's thread.
    feed
        Of the tabs.

    Attributes
    ----------
    frozen
        Whether what comes is not shown.
    paint_ms
        How long the newest paintings took (ms).
    """

    def __init__(self, ui: UiThread, feed: LiveFeed) -> None:
        self.overlay = FlagsOverlay()
        self.frozen = False
        self.paint_ms: deque[float] = deque(maxlen=1000)
        self._ui, self._feed = ui, feed
        self._paints = Throttle(_PERIOD_S)
        self._waiting: _Drawing | None = None
        self._now: _Drawing | None = None
        self._on_image = False

    def result_came(self, result: FrameResult, latency_ms: float) -> None:
        """Prepare what is drawn, on a thread of the client, and hand it to the window."""
        service = self._feed.service
        before = service.before(result.frame) if service is not None else None
        drawing = _draw(result, before, self._feed.rule)
        self._ui.call("result", lambda: self._show(drawing))

    def follow(self, status: LiveStatus) -> None:
        """Dim or take off what is too old."""
        if status.flags is FlagAge.GONE:
            self._take_off()
            if not self.frozen:
                self._forget()
        elif status.flags is FlagAge.STALE:
            self.overlay.dim()

    def freeze(self, frozen: bool) -> None:
        """Keep what is shown from now on, or go on with what comes."""
        self.frozen = frozen and self._now is not None
        self._waiting = None

    def use(self, rule: ShownRule) -> None:
        """Show by another rule from now on, what is shown already too."""
        self._feed.use(rule)
        service, now, origin = self._feed.service, self._now, self._feed.origin
        if service is None or now is None or origin is None:
            return
        self._now = _draw(now.result, now.before, rule)
        age = service.status.flags
        if self._on_image and age is not FlagAge.GONE:
            self._paint(origin, self._now, dimmed=self.frozen or age is FlagAge.STALE)

    def clear(self) -> None:
        """Show nothing, frozen or not."""
        self.frozen = False
        self._take_off()
        self._forget()

    def _forget(self) -> None:
        self._waiting = self._now = None
        self._feed.show(None)

    def _show_waiting(self) -> None:
        """Show what had to wait, unless a newer result was shown meanwhile."""
        if self._waiting is not None:
            self._show(self._waiting)

    def _show(self, drawing: _Drawing) -> None:
        """Show a result, at most five times a second: of what comes faster only the newest is shown."""
        if not self._paints.ready():
            self._waiting = drawing
            self._ui.call_later("paint", self._paints.remaining_s(), self._show_waiting)
            return
        self._waiting = None
        service = self._feed.service
        origin = service.origin(drawing.result.frame) if service is not None else None
        if service is None or origin is None or service.status.flags is FlagAge.GONE:
            return
        if self.frozen:
            self._keep(origin)
            return
        if drawing.rule != self._feed.rule:
            drawing = _draw(drawing.result, drawing.before, self._feed.rule)
        self._now = drawing
        self._paint(origin, drawing, dimmed=False)
        self._feed.show(drawing.result, origin, drawing.before)

    def _keep(self, scanned: FrameOrigin) -> None:
        """Keep the frozen flags on the image if their field is the one that is scanned."""
        origin, now = self._feed.origin, self._now
        if origin is None or now is None or origin.field != scanned.field:
            self._take_off()
        else:
            self._paint(origin, now, dimmed=True)

    def _take_off(self) -> None:
        self._on_image = False
        self.overlay.clear()

    def _paint(self, origin: FrameOrigin, drawing: _Drawing, dimmed: bool) -> None:
        self._on_image = True
        start = time.perf_counter_ns()
        self.overlay.paint(self._ui.document_models, origin, drawing.drawn, dimmed)
        self.paint_ms.append((time.perf_counter_ns() - start) / 1e6)
